"""Tables on stdout: written line by line where they fit, since to import rich's console takes longer than to list
all methods; else folded by it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .output import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 10_000  # a pipe has no edge to fold at
_GAP = 2  # spaces between columns


def terminal_width() -> int:
    """Return the columns that stdout has."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH


def natural_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the columns that a table takes where nothing has to be folded."""
    return sum(_widths(columns, rows)) + _GAP * (len(columns) - 1)


def print_table(*columns: str, rows: Iterable[Sequence[str]]) -> None:
    """Print rows below their headings; in a narrow terminal all columns but the first, the key, fold."""
    listed = [tuple(row) for row in rows]
    one_line_each = not any("\n" in cell for row in listed for cell in row)
    if one_line_each and natural_width(columns, listed) <= terminal_width():
        _print_lines(columns, listed)
    else:
        console().print(table(*columns, rows=listed))


def _print_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.cells import set_cell_size  # letters of Asian scripts take two columns

    widths = _widths(columns, rows)

    def line(cells: Sequence[str]) -> str:
        return (" " * _GAP).join(map(set_cell_size, cells, widths)).rstrip()

    rule = "─" if (sys.stdout.encoding or "").lower().startswith("utf") else "-"
    say(line(columns), bold=True)
    say(rule * natural_width(columns, rows))
    for row in rows:
        say(line(row))


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]


def console() -> Console:
    """Return rich's console for stdout that prints text as it is; only a terminal folds lines and shows colours."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(markup=False, emoji=False, highlight=False, width=width)


def table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """Return rich's table, whose first column, the key, never folds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 0, 0, 1))
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
