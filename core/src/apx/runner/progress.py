"""What a run tells while it works: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import sys
import time
from typing import Any, Protocol


class Progress(Protocol):
    """Hears of phases and steps."""

    def phase(self, name: str, steps: int, done: int = 0) -> None:
        """Say that a phase of `steps` steps starts, `done` of them already taken."""

    def step(self, loss: float | None = None) -> None:
        """Say that a step was taken."""

    def note(self, text: str) -> None:
        """Show one line."""

    def close(self) -> None:
        """Say that the work is over."""


class Quiet:
    """Shows nothing."""

    def phase(self, name: str, steps: int, done: int = 0) -> None:
        """See `Progress`."""

    def step(self, loss: float | None = None) -> None:
        """See `Progress`."""

    def note(self, text: str) -> None:
        """See `Progress`."""

    def close(self) -> None:
        """See `Progress`."""


class Lines:
    """Plain lines on stderr: at a phase's start and then every `every` seconds, with rate and remaining time."""

    def __init__(self, every: float = 10.0) -> None:
        self._every = every
        self._name, self._total, self._done, self._first = "", 0, 0, 0
        self._started = self._spoken = time.monotonic()

    def phase(self, name: str, steps: int, done: int = 0) -> None:
        """See `Progress`."""
        self._name, self._total, self._done, self._first = name, steps, done, done
        self._started = self._spoken = time.monotonic()
        self.note(f"{name}: {steps - done} steps")

    def step(self, loss: float | None = None) -> None:
        """See `Progress`."""
        self._done += 1
        now = time.monotonic()
        if now - self._spoken < self._every or self._done >= self._total:
            return
        self._spoken = now
        rate = (self._done - self._first) / (now - self._started)
        left = (self._total - self._done) / rate
        shown = "" if loss is None else f", loss {loss:.3f}"
        self.note(f"{self._name}: {self._done}/{self._total}, {rate:.2f}/s, {left:.0f} s left{shown}")

    def note(self, text: str) -> None:
        """See `Progress`."""
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """See `Progress`."""


class Bar:
    """A rich progress bar on stderr, which appears with the first phase: a process that is told of none shows none."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns: list[Any] = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        ]
        self._bar = RichProgress(*columns, console=Console(stderr=True))
        self._task: Any = None
        self._started, self._steps = 0.0, 0

    def phase(self, name: str, steps: int, done: int = 0) -> None:
        """See `Progress`."""
        self._bar.start()  # does nothing the second time
        if self._task is not None:
            self._bar.stop_task(self._task)
        self._task = self._bar.add_task(name, total=steps, completed=done, rate="")
        self._started, self._steps = time.monotonic(), 0

    def step(self, loss: float | None = None) -> None:
        """See `Progress`."""
        self._steps += 1
        rate = self._steps / max(time.monotonic() - self._started, 1e-9)
        shown = "" if loss is None else f" loss {loss:.3f}"
        self._bar.update(self._task, advance=1, rate=f"{rate:.2f}/s{shown}")

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._bar.console.print(text, highlight=False)

    def close(self) -> None:
        """See `Progress`."""
        self._bar.stop()


def default_progress() -> Progress:
    """Return a bar where stderr is a terminal, lines elsewhere."""
    return Bar() if sys.stderr.isatty() else Lines()
