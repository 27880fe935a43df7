"""Robust accuracy against cost: reported sparsity, operations, milliseconds; a panel for each that is known."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..leaderboards.row import Row
from ..paths import atomic_write
from .files import WRITERS, figure_format, svg
from .page import layout, page, plot, table
from .style import COLOURS, MATPLOTLIB, MOST

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "html")

_AXES = {
    "sparsity": "sparsity, % (reported where known)",
    "flops": "FLOPs left, %",
    "milliseconds": "milliseconds per image",
}
_MARKERS = {"published": ("o", "circle-open"), "local": ("D", "diamond")}
_SHAPES = ("-", ":")  # of the lines that connect a method's points: colours are used twice


def save_leaderboard(rows: Sequence[Row], path: Path) -> None:
    """Draw rows to a file: `.png`, `.svg` or `.html`.

    Raises:
        UserError: another suffix, no such folder, no robust accuracy among the rows, or more methods than can be told
            apart.
    """
    kind = figure_format(path, FORMATS)
    content = leaderboard_html(rows).encode() if kind == "html" else WRITERS[kind](leaderboard_figure(rows))
    atomic_write(path, content)


def series_of(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows with a robust accuracy by (method, source), in their order.

    Raises:
        UserError: there are none, or more methods than looks.
    """
    series: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.robust is not None:
            series.setdefault((row.method, row.source), []).append(row)
    if not series:
        raise UserError("there is no robust accuracy to draw: loosen the filters, or evaluate a run first")
    methods = dict.fromkeys(method for method, _ in series)
    if len(methods) > MOST:
        raise UserError(f"a figure can tell {MOST} methods apart, not {len(methods)}: choose some with --method")
    return series


def panels_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return the columns that at least one row with a robust accuracy has, with the titles of their axes."""
    return {
        name: title
        for name, title in _AXES.items()
        if any(_x(row, name) is not None for row in rows if row.robust is not None)
    }


def leaderboard_figure(rows: Sequence[Row]) -> Figure:
    """Return the panels side by side as a matplotlib figure, black on white."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    series, panels = series_of(rows), panels_of(rows)
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(1.5 + 4.2 * len(panels), 4.6), layout="constrained")
        lines: dict[str, Any] = {}
        for axes, (name, axis) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for (method, source), found in series.items():
                points = sorted(_points(found, name))
                colour, shape = _look(series, method)
                drawn = axes.plot(
                    [x for x, _ in points],
                    [y for _, y in points],
                    color=colour,
                    marker=_MARKERS[source][0],
                    markerfacecolor="white" if source == "published" else colour,
                    linestyle=shape if _one_line(found) else "none",
                )
                lines.setdefault(f"{found[0].name}, {source}", drawn[0])
            axes.set(xlabel=axis, ylabel="robust accuracy, %")
            if name == "sparsity":
                axes.set_xlim(_span(rows))
            axes.grid()
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(4, len(lines)))
    return figure


def leaderboard_html(rows: Sequence[Row]) -> str:
    """Return one HTML page with the interactive figure, or the static one where there is no JavaScript."""
    series = series_of(rows)
    what = (
        "Each point is a network. Circles are published numbers, diamonds own runs: these differ in data, attack or "
        "budget, as the table of apx leaderboard says of each."
    )
    columns = ("network", "source", "sparsity, %", "robust accuracy, %", "attack")
    cells = [
        (
            f"{row.name} {row.arch} {row.dataset} {row.structure}",
            row.source,
            f"{row.sparsity:g}",
            f"{row.robust.value:.2f}",
            f"{row.attack} at {row.eps:.3g}",
        )
        for found in series.values()
        for row in found
        if row.robust is not None
    ]
    return page(
        "Robust accuracy against cost",
        what,
        drawn=plot(leaderboard_plot(rows)),
        static=svg(leaderboard_figure(rows)).decode(),
        numbers=table(columns, cells),
        lines=len(series),
    )


def leaderboard_plot(rows: Sequence[Row]) -> Any:
    """Return the panels side by side as a plotly figure."""
    from plotly.subplots import make_subplots

    series, panels = series_of(rows), panels_of(rows)
    figure = make_subplots(rows=1, cols=len(panels))
    for column, name in enumerate(panels, 1):
        for (method, source), found in series.items():
            shown = sorted((row for row in found if _x(row, name) is not None), key=lambda row: _x(row, name) or 0.0)
            colour, shape = _look(series, method)
            figure.add_scatter(
                row=1,
                col=column,
                x=[_x(row, name) for row in shown],
                y=[row.robust.value for row in shown if row.robust is not None],
                text=[html.escape(f"{row.name}, {row.arch}, {row.dataset}, {row.structure}") for row in shown],
                name=html.escape(f"{found[0].name}, {source}"),
                legendgroup=f"{method} {source}",
                showlegend=column == 1,
                mode="lines+markers" if _one_line(found) else "markers",
                marker={"symbol": _MARKERS[source][1], "size": 9, "color": colour},
                line={"color": colour, "dash": "solid" if shape == "-" else "dot"},
                hovertemplate="%{text}<br>%{x:.4g}, %{y:.2f} %<extra></extra>",
            )
    for column, axis in enumerate(panels.values(), 1):
        figure.update_xaxes(title=axis, row=1, col=column)
        figure.update_yaxes(title="robust accuracy, %", row=1, col=column)
    if "sparsity" in panels:
        figure.update_xaxes(range=_span(rows), row=1, col=1 + list(panels).index("sparsity"))
    layout(figure)
    return figure


def _look(series: dict[tuple[str, str], list[Row]], method: str) -> tuple[str, str]:
    number = list(dict.fromkeys(name for name, _ in series)).index(method)
    return COLOURS[number % len(COLOURS)], _SHAPES[number // len(COLOURS)]


def _one_line(rows: Sequence[Row]) -> bool:
    """Say whether points may be connected: the same network on the same data, at several sparsities."""
    return len({(row.arch, row.dataset, row.structure) for row in rows}) == 1


def _span(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the ends of the axis of sparsity: wide enough for a hundredth of a point to look small."""
    known = [x for row in rows if row.robust is not None and (x := _x(row, "sparsity")) is not None]
    return max(0.0, min(known) - 3), min(101.0, max(known) + 3)


def _points(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    return [(x, row.robust.value) for row in rows if row.robust is not None and (x := _x(row, name)) is not None]


def _x(row: Row, name: str) -> float | None:
    if name == "sparsity":
        return row.reported if row.reported is not None else row.sparsity
    value: float | None = getattr(row, name)
    return value
