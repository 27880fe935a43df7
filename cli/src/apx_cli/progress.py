"""How far an evaluation is: share of the work, robust accuracy so far, remaining time; on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

_LEAST = 0.005  # share of the work from which on the remaining time is told


def evaluation_progress(n: int | None = None) -> Callable[[int, int, int], None]:
    """Return a counter line on a terminal, and a plain line each tenth of the work elsewhere.

    It is called with (passes done, passes in all, samples still robust); `n` is the number of samples, for the running
    robust accuracy, which only falls.
    """
    live, told, started = sys.stderr.isatty(), [0], time.monotonic()

    def report(done: int, total: int, robust: int) -> None:
        share = done / total
        robust_so_far = f"{robust} images still robust" if n is None else f"robust accuracy at most {robust / n:.1%}"
        line = f"{share:6.1%}, {robust_so_far}{_left(share, time.monotonic() - started)}"
        if live:
            click.echo(f"\r{line} \x1b[K", err=True, nl=done >= total)
        elif int(10 * share) > told[0]:
            told[0] = int(10 * share)
            click.echo(line.strip(), err=True)

    return report


def _left(share: float, elapsed: float) -> str:
    if not _LEAST <= share < 1:
        return ""
    seconds = elapsed * (1 - share) / share
    return f", {seconds:.0f} s left" if seconds < 120 else f", {seconds / 60:.0f} min left"
