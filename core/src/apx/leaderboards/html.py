"""A leaderboard as one HTML page: it sorts without a network, and reads without JavaScript."""

from __future__ import annotations

from html import escape

from ..figures.page import document
from .text import Cell, Table

_STYLE = """
.numbers th:first-child, .numbers td:first-child { position: sticky; left: 0; background: var(--paper); }
th button { all: unset; cursor: pointer; font: inherit; }
th button:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
td.words { text-align: left; white-space: normal; min-width: 9rem; }
sup { margin-left: .15em; }
ol { color: var(--soft); max-width: 60rem; padding-left: 2rem; overflow-wrap: anywhere; }
a { color: inherit; }
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


def page(table: Table, title: str = "Adversarial pruning: leaderboard") -> str:
    """Return the page."""
    body = f'<div class="numbers" tabindex="0">{_table(table)}</div>\n{_notes(table)}<script>{_SCRIPT}</script>\n'
    what = (
        "Published numbers, printed in bold where the source prints them so, and own runs with 95 % intervals. "
        "What keeps an own run from being compared with the published ones is said in its row."
    )
    return document(title, what, body, style=_STYLE)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{_content(row[0])}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in table.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(cell: Cell) -> str:
    order = "" if cell.sort is None else f' data-sort="{cell.sort:g}"'
    kind = ' class="words"' if cell.sort is None and len(cell.text) > 12 else ""
    return f"<td{order}{kind}>{_content(cell)}</td>"


def _content(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.bold and cell.text else escape(cell.text)
    return text + "".join(f'<sup><a href="#note-{number}">{number}</a></sup>' for number in cell.notes)


def _notes(table: Table) -> str:
    if not table.notes:
        return ""
    items = "".join(f'<li id="note-{number}">{escape(note)}</li>' for number, note in enumerate(table.notes, 1))
    return f"<ol>{items}</ol>\n"
