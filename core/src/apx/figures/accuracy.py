"""Clean and robust accuracy of pruned networks against their sparsity, with the dense networks at 0."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..leaderboards.row import Score
from .page import layout
from .style import MATPLOTLIB, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AXIS = "reported sparsity, %"
_WIDEST = 38


@dataclass(frozen=True)
class Point:
    """One network: reported sparsity and accuracies in percent."""

    sparsity: float
    clean: Score
    robust: Score


@dataclass(frozen=True)
class Line:
    """What is connected: a method on one network and data set, by sparsity, the dense network first where known."""

    name: str
    points: tuple[Point, ...]


def accuracy_figure(lines: Sequence[Line]) -> Figure:
    """Return the lines as a matplotlib figure: solid and filled robust, dashed and hollow clean accuracy, 95 % bars."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(7.0, 4.2 + 0.22 * ((len(lines) + 1) // 2)), layout="constrained")
        axes = figure.add_subplot()
        handles: list[Any] = []
        for number, line in enumerate(lines):
            colour, _ = look(number)
            for kind in ("clean", "robust"):
                robust = kind == "robust"
                drawn = axes.errorbar(
                    [point.sparsity for point in line.points],
                    [_score(point, kind).value for point in line.points],
                    yerr=_bars(line, kind),
                    color=colour,
                    marker="D" if robust else "o",
                    markerfacecolor=colour if robust else "white",
                    linestyle="-" if robust else "--",
                    capsize=2,
                )
                handles += [drawn] if robust else []
        axes.set(xlabel=_AXIS, ylabel="accuracy, %", ylim=(0, 102), xlim=_span(lines))
        axes.grid()
        names = [textwrap.fill(line.name, _WIDEST) for line in lines]
        figure.legend(handles, names, loc="outside lower center", ncols=min(2, len(lines)))
    return figure


def accuracy_plot(lines: Sequence[Line]) -> Any:
    """Return the same as a plotly figure."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, line in enumerate(lines):
        colour, _ = look(number)
        for kind in ("clean", "robust"):
            robust = kind == "robust"
            low, high = _bars(line, kind)
            figure.add_scatter(
                x=[point.sparsity for point in line.points],
                y=[_score(point, kind).value for point in line.points],
                error_y={"array": high, "arrayminus": low, "thickness": 1, "width": 3},
                name="<br>".join(map(html.escape, textwrap.wrap(f"{line.name}, {kind}", _WIDEST))),
                mode="lines+markers",
                line={"color": colour, "dash": "solid" if robust else "dash"},
                marker={"symbol": "diamond" if robust else "circle-open", "size": 9, "color": colour},
                hovertemplate="%{x:.2f} % removed: %{y:.1f} %",
            )
    layout(figure)
    figure.update_xaxes(title=_AXIS, range=_span(lines))
    figure.update_yaxes(title="accuracy, %", range=[0, 102])
    return figure


def _score(point: Point, kind: str) -> Score:
    return point.clean if kind == "clean" else point.robust


def _bars(line: Line, kind: str) -> tuple[list[float], list[float]]:
    """Return how far the intervals reach below and above the values; nowhere, where they are unknown."""
    scores = [_score(point, kind) for point in line.points]
    low = [0.0 if score.low is None else score.value - score.low for score in scores]
    high = [0.0 if score.high is None else score.high - score.value for score in scores]
    return low, high


def _span(lines: Sequence[Line]) -> tuple[float, float]:
    sparsities = [point.sparsity for line in lines for point in line.points]
    return max(-3.0, min(sparsities) - 5), min(103.0, max(sparsities) + 5)
