"""Pages in one HTML file, light or dark as the reader's system is; one that holds a figure and its numbers."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

from .style import FAINT, INK

# plotly writes its colours into each element: the rules below win over them by `!important`, and so follow the scheme
_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #222222; --soft: #5a5a5a; --line: #d9d9d9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181d; --ink: #e8e8e8; --soft: #b0b0b0; --line: #3a3f47; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; }
p { margin: 0 0 1rem; max-width: 48rem; color: var(--soft); }
.drawn { height: 34rem; }
@media (max-width: 40rem) { .drawn { height: calc(19rem + var(--lines) * 1.4rem); } }
.static { background: #ffffff; padding: .5rem; overflow-x: auto; }
.static svg { display: block; width: 100%; height: auto; min-width: 34rem; max-width: 48rem; margin: 0 auto; }
.numbers { overflow-x: auto; margin-top: 1.5rem; }
table { border-collapse: collapse; min-width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .75rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; min-width: min(15rem, 35vw); }
thead th { white-space: normal; vertical-align: bottom; min-width: 5.5rem; }
@media (max-width: 60rem) {
  table { font-size: .8rem; }
  th, td, th:first-child, thead th { padding: .3rem; min-width: 0; white-space: normal; }
}
@media (max-width: 30rem) {
  table { font-size: .7rem; }
  th, td, th:first-child, thead th { padding: .3rem .15rem; }
}
.drawn text { fill: var(--ink) !important; }
.drawn .gridlayer path { stroke: var(--line) !important; }
.drawn .hoverlayer .bg { fill: var(--paper) !important; fill-opacity: 1 !important; }
.drawn .hoverlayer .axistext path { fill: var(--paper) !important; }
"""


def page(title: str, description: str, *, drawn: str, static: str, numbers: str, lines: int) -> str:
    """Return a page with one figure.

    Args:
        title: its heading.
        description: a sentence or two on how to read the figure.
        drawn: HTML of the interactive figure.
        static: SVG of the same figure, for readers without JavaScript.
        numbers: HTML of a table.
        lines: entries of the figure's legend, which stand below one another on a narrow screen.
    """
    return document(title, description, figure(drawn, static, lines) + f'<div class="numbers">{numbers}</div>\n')


def figure(drawn: str, static: str, lines: int) -> str:
    """Return an interactive figure, and its SVG for readers without JavaScript; arguments as of `page`."""
    picture = static[static.index("<svg") :]  # without the declarations, which belong at the head of a file
    return (
        f'<noscript><div class="static">{picture}</div></noscript>\n'
        f'<div class="drawn" style="--lines: {lines}">{drawn}</div>\n'
    )


def plot(figure: Any, *, library: bool = True) -> str:
    """Return a plotly figure as HTML without a network; a page needs the `library` once, with its first figure."""
    drawn: str = figure.to_html(
        full_html=False,
        include_plotlyjs=library,
        default_height="100%",
        config={"responsive": True, "displayModeBar": False},
    )
    return drawn


def layout(figure: Any) -> None:
    """Lay out a plotly figure for a page: its colours show through, the legend stands below, axes are quiet."""
    faint = {"gridcolor": FAINT, "zeroline": False, "linecolor": "#808080", "showline": True}
    figure.update_xaxes(**faint)
    figure.update_yaxes(**faint)
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",  # the page's own colour shows through, light or dark
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 14, "color": INK},
        margin={"l": 60, "r": 16, "t": 16, "b": 60},
        legend={"orientation": "h", "yanchor": "top", "y": -0.22, "x": 0},
        showlegend=True,
    )


def document(title: str, description: str, body: str, *, style: str = "") -> str:
    """Return an HTML document: a heading, a paragraph of text, HTML below; `style` is added to the page's own."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}{style}</style>
<noscript><style>.drawn {{ display: none; }}</style></noscript>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(description)}</p>
{body}</body>
</html>
"""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table whose first column names its rows."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
