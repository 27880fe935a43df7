"""A leaderboard as cells of text: one table for the terminal, Markdown and HTML, with numbered footnotes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apx_taxonomy import leaderboard as published
from apx_taxonomy import leaderboard_names

from ..figures.style import radius
from .row import Row, Score

_ALWAYS = (
    "method",
    "source",
    "data",
    "network",
    "structure",
    "sparsity, %",
    "clean, %",
    "robust, %",
    "attack",
    "images",
)
_WHERE_KNOWN = (
    "own, %", "reported, %", "selected on", "FLOPs left, %", "ms", "differs from the published protocol in",
)  # fmt: skip
_NUMBERS = {"sparsity, %", "clean, %", "robust, %", "images", "own, %", "reported, %", "FLOPs left, %", "ms"}
_NEVER_LIFTED = {"method", "clean, %", "robust, %"}


@dataclass(frozen=True)
class Cell:
    """The text of one cell; `sort` orders it where the text would not."""

    text: str
    bold: bool = False
    notes: tuple[int, ...] = ()
    sort: float | None = None


@dataclass(frozen=True)
class Column:
    """A heading, and whether numbers stand below it."""

    title: str
    numbers: bool


@dataclass(frozen=True)
class Table:
    """Columns, rows of cells, and the footnotes that cells point at, from 1; the last footnotes are of the tables."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]

    def taking(self, places: Sequence[int]) -> Table:
        """Return the table with the columns at these places alone."""
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return Table(tuple(self.columns[place] for place in places), rows, self.notes)


def table_of(rows: Sequence[Row]) -> Table:
    """Return the rows as a table; a column that few rows can have is left out where none has it."""
    numbers: dict[str, int] = {}
    for row in rows:
        for remark in row.remarks:
            numbers.setdefault(remark, len(numbers) + 1)
    cells = tuple(_cells(row, numbers) for row in rows)
    titles = (*_ALWAYS, *_WHERE_KNOWN)
    columns = tuple(Column(title, title in _NUMBERS) for title in titles)
    whole = Table(columns, cells, (*numbers, *_of_the_tables(rows)))
    shown = [place for place, title in enumerate(titles) if title in _ALWAYS or any(row[place].text for row in cells)]
    return whole.taking(shown)


def narrower(table: Table) -> tuple[Table, str]:
    """Return the table without the columns that say the same in every row, and a line that says it once."""
    same = [
        place
        for place, column in enumerate(table.columns)
        if column.title not in _NEVER_LIFTED and len({row[place].text for row in table.rows}) == 1
    ]
    said = [f"{table.columns[place].title} {table.rows[0][place].text}" for place in same if table.rows[0][place].text]
    return table.taking([place for place in range(len(table.columns)) if place not in same]), "; ".join(said)


def shown_tables(rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Return of each published table that rows come from its name, title, source and remarks."""
    shown = {row.place for row in rows if row.source == "published"}
    boards = [published(name) for name in leaderboard_names() if name in shown]
    return [{key: board[key] for key in ("name", "title", "source", "remarks")} for board in boards]


def _cells(row: Row, numbers: Mapping[str, int]) -> tuple[Cell, ...]:
    """Return a cell for each of `_ALWAYS` and `_WHERE_KNOWN`, in their order."""
    share = f"{row.sparsity:.4g}" + ("" if row.unit in (None, "weights") else f" of {row.unit}")
    return (
        Cell(row.name, notes=tuple(numbers[remark] for remark in row.remarks)),
        Cell("published" if row.source == "published" else row.place),
        Cell(row.dataset),
        Cell(row.arch),
        Cell(row.structure or "-"),
        Cell(share, sort=row.sparsity),
        _score(row.clean, bold=row.bold),
        _score(row.robust, bold=row.bold),
        Cell(f"{row.attack}, {row.norm} {radius(row.eps)}"),
        Cell("" if row.n is None else f"{row.n:,}", sort=row.n),
        _number(row.own, ".2f"),
        _number(row.reported, ".2f"),
        Cell(row.selected_on or ""),
        _number(row.flops, ".1f"),
        _number(row.milliseconds, ".3g"),
        Cell("; ".join(row.differs)),
    )


def _score(score: Score | None, *, bold: bool) -> Cell:
    if score is None:
        return Cell("-")
    between = "" if score.low is None or score.high is None else f" ({score.low:.1f} to {score.high:.1f})"
    return Cell(f"{score.value:.2f}{between}", bold, sort=score.value)


def _number(value: float | None, form: str) -> Cell:
    return Cell("" if value is None else format(value, form), sort=value)


def _of_the_tables(rows: Sequence[Row]) -> list[str]:
    found: list[str] = []
    for board in shown_tables(rows):
        source = board["source"]
        found += [f"{board['title']}: {remark}" for remark in board["remarks"]]
        found.append(f"{board['title']}: from {source['url']} at {source['revision']}, {source['date']}.")
    return found


def markdown(table: Table) -> str:
    """Return a table of GitHub's Markdown with its footnotes below."""
    head = " | ".join(column.title for column in table.columns)
    rule = " | ".join("---:" if column.numbers else "---" for column in table.columns)
    lines = [f"| {head} |", f"| {rule} |"]
    lines += [f"| {' | '.join(map(_markdown_cell, row))} |" for row in table.rows]
    notes = [f"{number}. {_escaped(note)}" for number, note in enumerate(table.notes, 1)]
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])


def _markdown_cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    return (f"**{text}**" if cell.bold and text else text) + marks(cell)


def _escaped(text: str) -> str:
    """Return text of which Markdown makes no markup: a run may be called anything."""
    return "".join(f"\\{letter}" if letter in "\\|<*`" else letter for letter in " ".join(text.split()))


def marks(cell: Cell) -> str:
    """Return the numbers of a cell's footnotes, as ` [1] [3]`."""
    return "".join(f" [{number}]" for number in cell.notes)
