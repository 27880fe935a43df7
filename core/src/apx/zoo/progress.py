"""How far a download is, on stderr: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .sources import Report

_EVERY = 10.0  # seconds between plain lines
_MIB = 2**20


@contextmanager
def showing(name: str, *, bar: bool = True) -> Iterator[Report]:
    """Show the download of `name` while the block runs, `bar` allowing one; what it is given hears of the bytes."""
    if bar and sys.stderr.isatty():
        with _bar(name) as report:
            yield report
    else:
        print(f"downloading {name}", file=sys.stderr)
        yield _lines(name)


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(name, markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(name: str) -> Report:
    started = spoken = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal spoken
        now = time.monotonic()
        if now - spoken < _EVERY:
            return
        spoken = now
        rate = done / (now - started)
        amount = f"{done / _MIB:.1f} MiB" if total is None else f"{done / _MIB:.1f} of {total / _MIB:.1f} MiB"
        left = "" if total is None else f", {(total - done) / rate:.0f} s left"
        print(f"{name}: {amount}, {rate / _MIB:.1f} MiB/s{left}", file=sys.stderr)

    return report
