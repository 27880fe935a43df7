"""How time and memory of a training step grow with width, depth, batch and classes: a table and a figure.

    uv run python tests/benchmarks/growth.py --out growth.svg

A step is TRADES with three steps of its attack on images of CIFAR's size, in float32, plain and in HYDRA's prune phase,
where every weight has a score, of which the highest tenth are kept. Where it is not what grows, the network is a
resnet18 of width 16 for ten classes (for depth: a wide residual network of factor 1) and the batch 64. Seconds are the
median of several steps, memory is what the process needed at its peak above what it held before.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from peak_memory import peak_above
from phases import Work, of_the_method, plain
from torch import nn

import apx
from apx.architectures.wide_resnet import WideResNet
from apx.figures.files import WRITERS, figure_format
from apx.figures.style import MATPLOTLIB, look
from apx.paths import atomic_write

ROUNDS = 3
STEPS, ATTACK = 2, 3
LINES: Mapping[str, Callable[[Work], Callable[[], float]]] = {
    "plain TRADES": plain,
    "HYDRA's prune phase": lambda work: of_the_method("hydra", work),
}


def resnet18(classes: int = 10, width: int = 16) -> nn.Module:
    return apx.build("resnet18", num_classes=classes, width=width)


AXES: Mapping[str, Mapping[int, Work]] = {
    "width": {n: Work(lambda n=n: resnet18(width=n), steps=STEPS, attack=ATTACK) for n in (8, 16, 32, 64)},
    "depth": {n: Work(lambda n=n: WideResNet(n, 1, 10, 3, 16), steps=STEPS, attack=ATTACK) for n in (10, 16, 28, 40)},
    "batch": {n: Work(resnet18, batch=n, steps=STEPS, attack=ATTACK) for n in (16, 64, 256)},
    "classes": {
        n: Work(lambda n=n: resnet18(classes=n), classes=n, steps=STEPS, attack=ATTACK) for n in (10, 100, 1000, 10_000)
    },
}


@dataclass(frozen=True)
class Measured:
    """One step: seconds, and bytes at the peak."""

    seconds: float
    memory: float


def measure(run: Callable[[], float]) -> Measured:
    memory = peak_above(run)  # its steps warm up too
    return Measured(statistics.median(run() for _ in range(ROUNDS)) / STEPS, memory)


def slope(found: Mapping[int, Measured], of: Callable[[Measured], float]) -> float:
    """Return the exponent of growth, by least squares of log over log."""
    return statistics.linear_regression(
        [math.log(n) for n in found], [math.log(of(one)) for one in found.values()]
    ).slope


def figure(found: Mapping[str, Mapping[str, Mapping[int, Measured]]]) -> Figure:
    """Draw a column for what grows; seconds above, memory below."""
    with rc_context(MATPLOTLIB):
        drawn = Figure(figsize=(10.0, 5.6), layout="constrained")
        grid = drawn.subplots(2, len(found), sharey="row")
        for column, (axis, lines) in enumerate(found.items()):
            panel(grid[0][column], lines, lambda one: one.seconds)
            panel(grid[1][column], lines, lambda one: one.memory / 2**20)
            grid[0][column].set_title(axis)
            grid[1][column].set_xlabel(axis)
        grid[0][0].set_ylabel("seconds per step")
        grid[1][0].set_ylabel("peak memory, MiB")
        handles, names = grid[0][0].get_legend_handles_labels()
        drawn.legend(handles, names, loc="outside lower center", ncols=len(names))
    return drawn


def panel(axes: Axes, lines: Mapping[str, Mapping[int, Measured]], of: Callable[[Measured], float]) -> None:
    for number, (name, points) in enumerate(lines.items()):
        colour, _ = look(number)
        marker, size = (("o", 8), ("D", 4))[number]
        axes.plot(
            list(points), [of(one) for one in points.values()], label=name, color=colour, marker=marker, markersize=size
        )
    ticks = list(next(iter(lines.values())))
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.minorticks_off()
    axes.grid()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the figure: .svg or .png")
    out = parser.parse_args(arguments).out
    kind = figure_format(out, tuple(WRITERS))
    found: dict[str, dict[str, dict[int, Measured]]] = {}
    for axis, works in AXES.items():
        found[axis] = {}
        for name, started in LINES.items():
            points = found[axis][name] = {}
            for n, work in works.items():
                points[n] = measure(started(work))
                one = points[n]
                print(f"{axis} {n:>6,}  {name:<20} {one.seconds:8.3f} s {one.memory / 2**20:8.0f} MiB", flush=True)
            exponents = slope(points, lambda one: one.seconds), slope(points, lambda one: one.memory)
            print(f"{axis} exponents  {name:<20} {exponents[0]:8.2f}   {exponents[1]:8.2f}", flush=True)
    atomic_write(out, WRITERS[kind](figure(found)))


if __name__ == "__main__":
    main()
