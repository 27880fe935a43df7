"""Choose and order the rows of a leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .differs import marked
from .local import document_row, local_rows
from .published import board_rows, published_rows
from .reading import read_json, results_summary
from .row import Row

SOURCES = ("published", "local", "all")
METRICS = ("robust", "clean")
SORTABLE = (
    "method", "source", "dataset", "arch", "structure", "sparsity", "own", "reported", "clean", "robust", "attack", "n",
    "eps", "selected_on", "flops", "milliseconds",
)  # fmt: skip
"""Columns by which a leaderboard can be ordered."""
_FALLING = {"clean", "robust", "n"}
"""Columns of which more is better: these begin with the largest value."""
_DEFAULT_RUNS = Path("runs")


def leaderboard(
    *,
    dataset: str | Collection[str] = (),
    structure: str | Collection[str] = (),
    arch: str | Collection[str] = (),
    sparsity: float | Collection[float] = (),
    method: str | Collection[str] = (),
    metric: str = "robust",
    source: str = "all",
    sort: str | None = None,
    runs: Sequence[Path | str] | None = None,
    files: Sequence[Path | str] = (),
    warn: Callable[[str], None] | None = None,
) -> list[Row]:
    """Return the published results and one's own, best first within data set, structure, architecture and sparsity.

    Published are the four tables of the AP benchmark of 2024 (Piras et al., arXiv 2409.01249): AutoAttack, Linf, eps
    0.031, the first 10,000 test images. Accuracies and sparsities are in percent, eps is for images in [0, 1].

    Args:
        dataset, structure, arch, sparsity, method: what a row must be; several values mean any of them, none all.
            Words in any case; sparsity is in percent, a method a slug or its printed name.
        metric: the accuracy that ranks, `robust` or `clean`; rows without it come last.
        source: `published`, `local` or `all`.
        sort: order everything by this column instead (`SORTABLE`); accuracies and n from the largest down, all others
            up, rows without a value last, and what is equal by `metric`.
        runs: run directories or folders of them; `runs` in the working directory, if there is one, where None.
        files: leaderboard files of submitted results (`apx submit merge`), or results documents (`apx evaluate --out`).
        warn: is told of run directories that cannot be read.

    Raises:
        UserError: a value that no result has, with the ones there are; an unknown metric, source or column; a path
            that is no directory; a file that is no leaderboard and no results document.
    """
    _one_of(metric, METRICS, "metric")
    _one_of(source, SOURCES, "source")
    if sort is not None:
        _one_of(sort, SORTABLE, "column")
    rows = [*published_rows(), *([] if source == "published" else _local(runs, files, warn or (lambda sentence: None)))]
    asked = {"dataset": dataset, "structure": structure, "arch": arch, "sparsity": sparsity, "method": method}
    chosen = _chosen(rows, {column: _several(values) for column, values in asked.items()})
    return ordered([row for row in chosen if source in (row.source, "all")], metric, sort)


def _local(
    runs: Sequence[Path | str] | None, files: Sequence[Path | str], warn: Callable[[str], None]
) -> Iterable[Row]:
    default = [_DEFAULT_RUNS] if _DEFAULT_RUNS.is_dir() else []
    rows, unreadable = local_rows(default if runs is None else map(Path, runs))
    for sentence in unreadable:
        warn(sentence)
    return [*rows, *(row for file in files for row in _file_rows(Path(file)))]


def _file_rows(file: Path) -> list[Row]:
    content = read_json(file, "a leaderboard or a results document")
    if isinstance(content, dict) and "attacks" in content:
        return [marked(document_row(results_summary(file, content), str(file)))]
    return board_rows(file, content)


def _chosen(rows: list[Row], asked: dict[str, list[str]]) -> list[Row]:
    """Keep the rows that have one of the values asked for; a value that no row has is a mistake."""
    wanted = {column: {_read(value, column) for value in values} for column, values in asked.items()}
    for column, values in wanted.items():
        known = {word for row in rows for word in _words(row, column)}
        if unknown := sorted(values - known):
            there = ", ".join(sorted({_shown(row, column) for row in rows} - {""}, key=_in_order))
            raise UserError(f"no result has {column} '{unknown[0]}': there are {there}")
    return [row for row in rows if all(not values or values & _words(row, name) for name, values in wanted.items())]


def _several(values: Any) -> list[str]:
    one = isinstance(values, str | int | float)
    return [str(value) for value in ([values] if one else values)]


def _read(value: str, column: str) -> str:
    if column != "sparsity":
        return value.strip().casefold()
    try:
        return f"{float(value):g}"
    except ValueError:
        raise UserError(f"'{value}' is no sparsity: give percent removed, such as 90") from None


def _words(row: Row, column: str) -> set[str]:
    """Return what a user may write for a row's value."""
    return (
        {_shown(row, column).casefold(), row.name.casefold()}
        if column == "method"
        else {_shown(row, column).casefold()}
    )


def _shown(row: Row, column: str) -> str:
    value = getattr(row, column)
    return f"{value:g}" if isinstance(value, float) else str(value or "")


def _in_order(word: str) -> tuple[float, str]:
    return (float(word) if word.replace(".", "", 1).isdigit() else 0.0), word


def ordered(rows: Iterable[Row], metric: str, sort: str | None) -> list[Row]:
    """Return rows in the order that `leaderboard` describes; equal rows keep theirs."""
    ranked = sorted(rows, key=lambda row: _place(row, metric))
    if sort is not None:
        return sorted(ranked, key=lambda row: _place(row, sort))
    return sorted(ranked, key=lambda row: (row.dataset, row.structure != "US", row.arch, row.sparsity))


def _place(row: Row, column: str) -> tuple[bool, Any]:
    """Return a key that puts missing values last."""
    value = getattr(row, column)
    if value is None:
        return True, 0
    number = value.value if column in METRICS else value
    return False, -number if column in _FALLING else number


def _one_of(value: str, allowed: Sequence[str], what: str) -> None:
    if value not in allowed:
        raise UserError(f"unknown {what} '{value}': choose one of {', '.join(allowed)}")
