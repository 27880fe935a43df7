"""A leaderboard as cells of text: one table for the terminal, Markdown and HTML, with numbered footnotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apx_taxonomy import leaderboard as published
from apx_taxonomy import leaderboard_names

from ..figures.style import radius
from .row import Row, Score

COLUMNS = (
    "method", "source", "data", "network", "structure", "sparsity, %", "clean, %", "robust, %", "attack", "images",
)  # fmt: skip
_OPTIONAL = ("reported, %", "FLOPs left, %", "ms", "not comparable: differs in")


@dataclass(frozen=True)
class Cell:
    """The text of one cell; `sort` orders it where the text would not."""

    text: str
    bold: bool = False
    notes: tuple[int, ...] = ()
    sort: float | None = None


@dataclass(frozen=True)
class Table:
    """Headings, rows of cells, and the footnotes that cells point at, from 1."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]


def table_of(rows: Sequence[Row]) -> Table:
    """Return the rows as a table; a column that no row fills is left out."""
    numbers: dict[str, int] = {}
    for row in rows:
        for remark in row.remarks:
            numbers.setdefault(remark, len(numbers) + 1)
    full = [_cells(row, numbers) for row in rows]
    headings = (*COLUMNS, *_OPTIONAL)
    shown = [
        number for number, name in enumerate(headings) if name in COLUMNS or any(cells[number].text for cells in full)
    ]
    return Table(
        tuple(headings[number] for number in shown),
        tuple(tuple(cells[number] for number in shown) for cells in full),
        (*numbers, *_of_the_tables(rows)),
    )


def _cells(row: Row, numbers: dict[str, int]) -> tuple[Cell, ...]:
    notes = tuple(numbers[remark] for remark in row.remarks)
    threat = f"{row.attack}, {row.norm} {radius(row.eps)}"
    return (
        Cell(row.name, notes=notes),
        Cell("published" if row.source == "published" else row.place),
        Cell(row.dataset),
        Cell(row.arch),
        Cell(row.structure),
        Cell(f"{row.sparsity:g}", sort=row.sparsity),
        _score(row.clean, bold=row.bold),
        _score(row.robust, bold=row.bold),
        Cell(threat),
        Cell("" if row.n is None else f"{row.n:,}", sort=row.n),
        _number(row.reported, ".2f"),
        _number(row.flops, ".1f"),
        _number(row.milliseconds, ".3g"),
        Cell("; ".join(row.differs)),
    )


def _score(score: Score | None, *, bold: bool) -> Cell:
    if score is None:
        return Cell("-")
    if score.low is None or score.high is None:
        return Cell(f"{score.value:.2f}", bold, sort=score.value)
    return Cell(f"{score.value:.2f} [{score.low:.1f}, {score.high:.1f}]", bold, sort=score.value)


def _number(value: float | None, form: str) -> Cell:
    return Cell("" if value is None else format(value, form), sort=value)


def _of_the_tables(rows: Sequence[Row]) -> list[str]:
    """Return what the published tables say as a whole, of those that are shown."""
    shown = {row.place for row in rows if row.source == "published"}
    found: list[str] = []
    for name in leaderboard_names():
        if name in shown:
            board = published(name)
            found += [f"{board['title']}: {remark}" for remark in board.get("remarks", [])]
            source = board["source"]
            found.append(f"{board['title']}: from {source['url']} at {source['revision']}, {source['date']}.")
    return found


def markdown(table: Table) -> str:
    """Return a table of GitHub's Markdown with its footnotes below."""
    lines = [f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
    lines += [f"| {' | '.join(_markdown_cell(cell) for cell in row)} |" for row in table.rows]
    notes = [f"{number}. {note}" for number, note in enumerate(table.notes, 1)]
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])


def _markdown_cell(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    return (f"**{text}**" if cell.bold and text else text) + marks(cell)


def marks(cell: Cell) -> str:
    """Return the numbers of a cell's footnotes, as ` [1] [3]`."""
    return "".join(f" [{number}]" for number in cell.notes)
