"""A leaderboard as one HTML page: it sorts without a network, and reads without JavaScript."""

from __future__ import annotations

from html import escape

from ..figures.page import document
from .text import Cell, Column, Table, narrower

_STYLE = """
.numbers th:first-child, .numbers td:first-child { position: sticky; left: 0; background: var(--paper);
  min-width: 0; padding-right: .75rem; }
.numbers th, .numbers td { min-width: 0; padding: .35rem .5rem; }
.numbers .words { text-align: left; }
.numbers td.long { white-space: normal; min-width: 14rem; }
th button { all: unset; cursor: pointer; font: inherit; }
th button:focus-visible, .numbers:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
sup { margin-left: .15em; line-height: 0; }
ol { color: var(--soft); max-width: 60rem; padding-left: 2rem; overflow-wrap: anywhere; }
a { color: inherit; }
@media (max-width: 60rem) { .numbers th, .numbers td { white-space: nowrap; } }
@media (max-width: 30rem) { .numbers th, .numbers td { padding: .3rem .35rem; } }
"""

_SCRIPT = """
for (const head of document.querySelectorAll("thead th")) {
  const text = head.textContent, button = document.createElement("button");
  button.type = "button"; button.textContent = text; head.replaceChildren(button);
  button.addEventListener("click", () => {
    const table = head.closest("table"), place = [...head.parentNode.children].indexOf(head);
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = row => row.children[place].dataset.sort ?? row.children[place].textContent;
    const missing = row => key(row) === "" || key(row) === "-";
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      if (missing(a) !== missing(b)) return missing(a) - missing(b);
      const x = key(a), y = key(b), order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return falling ? -order : order;
    });
    table.tBodies[0].append(...rows);
  });
}
"""

_LONG = 28  # characters of text that may fold


def page(table: Table, title: str = "Adversarial pruning: leaderboard") -> str:
    """Return the page; a heading that is pressed orders the rows, missing values last."""
    said = ""
    if len(table.rows) > 1:
        table, said = narrower(table)
    box = f'<div class="numbers" role="region" aria-label="{escape(title)}" tabindex="0">{_table(table)}</div>\n'
    what = (
        "Published numbers, printed in bold where the source prints them so, and own results with 95 % intervals. "
        "What keeps an own result from being compared with the published ones is said in its row."
    )
    if said:
        what += f" Of all rows: {said}."
    return document(title, what, f"{box}{_notes(table)}<script>{_SCRIPT}</script>\n", style=_STYLE)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"{_class(column)}>{escape(column.title)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{_row(table.columns, row)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(columns: tuple[Column, ...], row: tuple[Cell, ...]) -> str:
    first, rest = row[0], zip(columns[1:], row[1:], strict=True)
    return f'<th scope="row">{_content(first)}</th>{"".join(_cell(column, cell) for column, cell in rest)}'


def _class(column: Column, text: str = "") -> str:
    if column.numbers:
        return ""
    return ' class="words long"' if len(text) > _LONG else ' class="words"'


def _cell(column: Column, cell: Cell) -> str:
    order = "" if cell.sort is None else f' data-sort="{cell.sort:g}"'
    return f"<td{order}{_class(column, cell.text)}>{_content(cell)}</td>"


def _content(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.bold and cell.text else escape(cell.text)
    return text + "".join(f'<sup><a href="#note-{number}">{number}</a></sup>' for number in cell.notes)


def _notes(table: Table) -> str:
    if not table.notes:
        return ""
    items = "".join(f'<li id="note-{number}">{escape(note)}</li>' for number, note in enumerate(table.notes, 1))
    return f"<ol>{items}</ol>\n"
