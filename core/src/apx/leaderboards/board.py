"""Choose and order the rows of a leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from .local import local_rows
from .published import file_rows, published_rows
from .row import Row

Metric = Literal["clean", "robust"]
SOURCES = ("published", "local", "all")
METRICS = ("robust", "clean")
SORTABLE = (
    "method", "source", "dataset", "arch", "structure", "sparsity", "reported", "clean", "robust", "n", "eps", "flops",
    "milliseconds",
)  # fmt: skip
"""Columns by which a leaderboard can be ordered."""
_FALLING = {"clean", "robust", "n"}
"""Columns of which more is better: these begin with the largest value."""


def leaderboard(
    *,
    dataset: Collection[str] = (),
    structure: Collection[str] = (),
    arch: Collection[str] = (),
    sparsity: Collection[float] = (),
    method: Collection[str] = (),
    metric: str = "robust",
    source: str = "all",
    sort: str | None = None,
    runs: Sequence[Path | str] | None = None,
    files: Sequence[Path | str] = (),
    warn: Callable[[str], None] | None = None,
) -> list[Row]:
    """Return the published results and one's own, best first within data set, structure, architecture and sparsity.

    Args:
        dataset, structure, arch, sparsity, method: what a row must be; several values mean any of them, none all.
            Sparsity is in percent, a method a slug or its printed name.
        metric: the accuracy that ranks, `robust` or `clean`; rows without it come last.
        source: `published`, `local` or `all`.
        sort: order everything by this column instead (`SORTABLE`); accuracies and n from the largest down, all others
            up, rows without a value last.
        runs: run directories or folders of them; `runs` in the working directory, if there is one, where None.
        files: leaderboard files of submitted results (`apx submit merge`).
        warn: is told of run directories that cannot be read.

    Raises:
        UserError: a value that no row has, with the ones there are; an unknown metric, source or column; a path that
            is no directory; a file that is no leaderboard.
    """
    _one_of(metric, METRICS, "metric")
    _one_of(source, SOURCES, "source")
    if sort is not None:
        _one_of(sort, SORTABLE, "column")
    rows = _all_rows(source, runs, files, warn or (lambda sentence: None))
    chosen = _chosen(
        rows,
        {
            "dataset": dataset,
            "structure": [one.upper() for one in structure],
            "arch": arch,
            "sparsity": [float(one) for one in sparsity],
            "method": method,
        },
    )
    return ordered(chosen, metric, sort)


def _all_rows(
    source: str, runs: Sequence[Path | str] | None, files: Sequence[Path | str], warn: Callable[[str], None]
) -> list[Row]:
    rows: list[Row] = []
    if source != "local":
        rows += published_rows()
    if source != "published":
        folders = [Path(one) for one in runs] if runs is not None else [one for one in [Path("runs")] if one.is_dir()]
        own, unreadable = local_rows(folders)
        for sentence in unreadable:
            warn(sentence)
        rows += own
        for file in files:
            rows += file_rows(Path(file))
    return rows


def _chosen(rows: list[Row], asked: dict[str, Collection[Any]]) -> list[Row]:
    """Keep the rows that have one of the values asked for; a value that no row has is a mistake."""
    for column, values in asked.items():
        known = {_value(row, column) for row in rows}
        spelt = {row.name.lower(): row.method for row in rows} if column == "method" else {}
        wanted = {spelt.get(str(one).lower(), one) for one in values}
        if unknown := [one for one in wanted if one not in known]:
            shown = ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in sorted(known)) or "none"
            wrong = f"{unknown[0]:g}" if isinstance(unknown[0], float) else unknown[0]
            raise UserError(f"no row has {column} '{wrong}': there are {shown}")
        if wanted:
            rows = [row for row in rows if _value(row, column) in wanted]
    return rows


def ordered(rows: Iterable[Row], metric: str, sort: str | None) -> list[Row]:
    """Return rows in the order that `leaderboard` describes; equal rows keep theirs."""
    if sort is None:
        return sorted(
            rows,
            key=lambda row: (row.dataset, row.structure != "US", row.arch, row.sparsity, *_place(row, metric)),
        )
    ranked = sorted(rows, key=lambda row: _place(row, metric))
    return sorted(ranked, key=lambda row: _place(row, sort))


def _place(row: Row, column: str) -> tuple[bool, Any]:
    """Return a key that puts missing values last."""
    value = _value(row, column)
    if value is None:
        return True, 0
    return False, -value if column in _FALLING else value


def _value(row: Row, column: str) -> Any:
    value = getattr(row, column)
    return value.value if column in ("clean", "robust") and value is not None else value


def _one_of(value: str, allowed: Sequence[str], what: str) -> None:
    if value not in allowed:
        raise UserError(f"unknown {what} '{value}': choose one of {', '.join(allowed)}")
