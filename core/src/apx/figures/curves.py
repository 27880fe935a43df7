"""Security curves of several models in one figure: PNG and SVG, or one interactive HTML file that needs no network."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..evaluation.interval import wilson
from ..evaluation.security_curve import SecurityCurve
from ..paths import atomic_write
from .files import WRITERS, figure_format, svg
from .page import layout, page, plot, table
from .style import INK, MATPLOTLIB, MATPLOTLIB_DASHES, distance_text, look, radius

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "html")

_WIDEST = 38  # characters of a legend's line: as many fit on a narrow screen


def save_curves(curves: Sequence[SecurityCurve], path: Path) -> None:
    """Write the curves to a file: `.png`, `.svg` or `.html`.

    Args:
        curves: of one data set and norm, as `apx.evaluation.security_curve.curves_of` returns them.
        path: where to; the suffix says what.

    Raises:
        UserError: another suffix, no such folder, no curves or more than 12.
    """
    kind = figure_format(path, FORMATS)
    if not curves:
        raise UserError("there are no security curves to draw: give at least one model")
    atomic_write(path, curves_html(curves).encode() if kind == "html" else WRITERS[kind](curves_figure(curves)))


def title(curves: Sequence[SecurityCurve]) -> str:
    """Return what the figure shows, in one line."""
    return f"Security curves on {curves[0].data}"


def columns(curves: Sequence[SecurityCurve]) -> tuple[str, ...]:
    """Return the headings of `rows`."""
    robust = f"robust accuracy at {radius(curves[0].threat_eps)}"
    return ("model", "images", "clean accuracy", robust, "area under the curve", "median distance")


def rows(curves: Sequence[SecurityCurve]) -> list[tuple[str, ...]]:
    """Return the main numbers as text, one row per curve under `columns`; accuracies with their 95 % intervals."""
    return [
        (
            curve.name,
            str(curve.n),
            _share(curve.clean_accuracy, curve.n),
            _share(curve.robust_accuracy, curve.n),
            f"{curve.area:.4f}",
            distance_text(curve.median_distance),
        )
        for curve in curves
    ]


def curves_figure(curves: Sequence[SecurityCurve]) -> Figure:
    """Return the curves as a matplotlib figure, black on white, a line's look told by colour and dash."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    first = curves[0]
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(7.0, 4.2 + 0.22 * ((len(curves) + 1) // 2)), layout="constrained")
        axes = figure.add_subplot()
        lines = []
        for number, curve in enumerate(curves):
            colour, dash = look(number)
            lines += axes.step(
                curve.eps,
                curve.robust,
                where="post",
                color=colour,
                linestyle=MATPLOTLIB_DASHES[dash],
                linewidth=2,
            )
        axes.axvline(first.threat_eps, color=INK, linewidth=1)
        axes.annotate(
            f"threat: eps = {radius(first.threat_eps)}",
            (first.threat_eps, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
        )
        axes.set(xlim=(0, first.max_eps), ylim=(0, 1.02), title=title(curves))
        axes.set(xlabel=f"perturbation radius eps ({first.norm}, images in [0, 1])", ylabel="robust accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid()
        figure.legend(
            lines,
            [textwrap.fill(curve.name, _WIDEST) for curve in curves],
            loc="outside lower center",
            ncols=min(2, len(curves)),
        )
    return figure


def curves_html(curves: Sequence[SecurityCurve]) -> str:
    """Return one HTML page: the interactive figure (the static one where there is no JavaScript) and the numbers."""
    static, numbers = svg(curves_figure(curves)).decode(), table(columns(curves), rows(curves))
    return page(
        title(curves),
        how_to_read(curves),
        drawn=plot(curves_plot(curves)),
        static=static,
        numbers=numbers,
        lines=len(curves),
    )


def how_to_read(curves: Sequence[SecurityCurve]) -> str:
    """Return what the figure and its numbers mean, in a few sentences."""
    first = curves[0]
    return (
        f"Share of the images that no perturbation of {first.norm} norm eps or less was found to break. "
        f"The line marks the threat, eps = {radius(first.threat_eps)}. "
        f"The area is that under the curve up to eps = {first.max_eps:g}. Accuracies come with 95 % intervals."
    )


def curves_plot(curves: Sequence[SecurityCurve]) -> Any:
    """Return the curves as a plotly figure."""
    import plotly.graph_objects as go

    first = curves[0]
    figure = go.Figure()
    for number, curve in enumerate(curves):
        colour, dash = look(number)
        figure.add_scatter(
            x=[round(value, 6) for value in curve.eps],
            y=[round(value, 6) for value in curve.robust],
            name="<br>".join(map(html.escape, textwrap.wrap(curve.name, _WIDEST))),
            mode="lines",
            line={"color": colour, "dash": dash, "width": 2.5, "shape": "hv"},
            hovertemplate="%{y:.1%}",
        )
    figure.add_vline(x=first.threat_eps, line_width=1, line_color="#808080")
    figure.add_annotation(
        x=first.threat_eps,
        y=1,
        yref="paper",
        text=f"threat: eps = {radius(first.threat_eps)}",
        showarrow=False,
        xanchor="left" if first.threat_eps < first.max_eps / 2 else "right",
        yanchor="top",
        xshift=4 if first.threat_eps < first.max_eps / 2 else -4,
    )
    layout(figure)
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(title=f"perturbation radius eps ({first.norm})", range=[0, first.max_eps])
    figure.update_yaxes(title="robust accuracy", range=[0, 1.02], tickformat=".0%")
    return figure


def _share(value: float, n: int) -> str:
    low, high = wilson(round(value * n), n)
    return f"{value:.1%} ({low:.1%} to {high:.1%})"
