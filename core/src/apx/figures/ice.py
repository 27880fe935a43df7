"""The figure of "Samples on thin ice": how large the four sets are, and how far from the dense model's boundary.

After Piras et al., ICMLC 2023 (arXiv 2310.08073); the layout is ours.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.overlap import SETS, Overlap
from ..paths import atomic_write
from .files import WRITERS, figure_format
from .style import COLOURS, FAINT, INK, MATPLOTLIB, distance_text, radius

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FORMATS = ("png", "svg")

MEANINGS = {
    "S11": "right before and after",
    "S10": "lost by pruning",
    "S01": "won by pruning",
    "S00": "wrong before and after",
}

_COLOUR = {"S11": COLOURS[0], "S10": COLOURS[1], "S01": COLOURS[2], "S00": COLOURS[4]}
_BINS = 40


def save_ice(found: Overlap, path: Path) -> None:
    """Write the figure to a file, `.png` or `.svg`.

    Raises:
        UserError: another suffix, or no such folder.
    """
    kind = figure_format(path, FORMATS)
    atomic_write(path, WRITERS[kind](ice_figure(found)))


def ice_figure(found: Overlap) -> Figure:
    """Return the figure: sizes of the sets on the left, distances under attack on the right."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(10.0, 4.6), layout="constrained")
        figure.suptitle(_title(found), x=0.01, ha="left", fontsize=11)
        panels: Any = figure.subfigures(1, 2, width_ratios=(0.85, 1.0))
        _sizes(panels[0].add_subplot(), found)
        _distances(panels[1], found)
    return figure


def _title(found: Overlap) -> str:
    names = f"dense: {found.dense.name}, pruned: {found.pruned.name}"
    attack = " + ".join(found.dense.attacks) or "no attack"
    if found.pruned.source is not None:
        attack += f" on {found.pruned.source} alone"
    what = f"{found.n} images of {found.dense.data}; {attack}, {found.dense.norm} {radius(found.dense.eps)}"
    return "\n".join([*textwrap.wrap(names, 110), what])


def _sizes(axes: Axes, found: Overlap) -> None:
    """Draw the counts: clean in a light tone, under attack in the full one."""
    from matplotlib.ticker import MaxNLocator

    height = 0.38
    for row, name in enumerate(SETS):
        for partition, offset, tone in ((found.clean, -height / 2, _lighter), (found.adversarial, height / 2, str)):
            count = partition.count(name)
            axes.barh(row + offset, count, height * 0.92, color=tone(_COLOUR[name]))
            share = f"{count} ({count / found.n:.1%}) {'clean' if partition is found.clean else 'under attack'}"
            axes.annotate(
                share, (count, row + offset), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
            )
    axes.set_yticks(range(len(SETS)), [f"{name}\n{MEANINGS[name]}" for name in SETS])
    axes.invert_yaxis()
    axes.set_xticks([tick for tick in MaxNLocator(4, integer=True).tick_values(0, found.n) if tick <= found.n])
    axes.set(title="Sizes of the sets", xlabel="images", xlim=(0, found.n * 1.4))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _distances(panel: SubFigure, found: Overlap) -> None:
    """Draw one histogram per set over a common radius, each to its own height: the sets differ in size."""
    partition, eps = found.adversarial, found.dense.eps
    finite = found.distance[np.isfinite(found.distance)]
    reach = max(2 * eps, float(np.quantile(finite, 0.99)) if len(finite) else 0.0) or 1.0
    width = eps / max(1, round(eps * _BINS / reach)) if eps > 0 else reach / _BINS
    bins = np.arange(0, reach + width, width)  # eps is an edge: no bin holds broken and robust samples
    position = {index: row for row, index in enumerate(found.dense.indices.tolist())}
    all_axes = panel.subplots(len(SETS), 1, sharex=True)
    for axes, name in zip(all_axes, SETS, strict=True):
        values = found.distance[[position[index] for index in partition.sets[name]]]
        axes.hist(values[values <= reach], bins=bins, color=_COLOUR[name])
        axes.axvline(eps, color=INK, linewidth=1)
        axes.text(0.995, 0.95, _note(values, reach), transform=axes.transAxes, ha="right", va="top", fontsize=8)
        _mark_median(axes, partition.distances[name].median, reach)
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_color(FAINT if axes is not all_axes[-1] else INK)
        axes.tick_params(axis="x", color=FAINT if axes is not all_axes[-1] else INK)
    all_axes[0].set_title("Distance to the dense model's boundary, sets under attack")
    all_axes[-1].set(
        xlim=(0, reach), xlabel=f"distance ({found.dense.norm}); line: eps = {radius(eps)}, triangle: median"
    )


def _lighter(colour: str) -> str:
    """Mix a colour with as much white."""
    return "#" + "".join(f"{(int(colour[i : i + 2], 16) + 255) // 2:02x}" for i in (1, 3, 5))


def _note(values: np.ndarray, reach: float) -> str:
    if not len(values):
        return "empty"
    beyond = int((values > reach).sum())
    more = f", {beyond} beyond" if beyond else ""
    return f"n = {len(values)}, median {distance_text(float(np.median(values)))}{more}"


def _mark_median(axes: Axes, median: float | None, reach: float) -> None:
    if median is not None and median <= reach:
        axes.plot([median], [0], marker="^", markersize=9, color=INK, markeredgecolor="white", clip_on=False, zorder=5)
