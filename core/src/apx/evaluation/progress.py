"""Progress of an evaluation in units of network passes, so that the remaining time can be told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Report = Callable[[int, int, int], None]
"""Called with (done, total, samples still robust); done and total in passes of one image."""

_INTERVAL = 0.1  # seconds between two reports inside a batch


@dataclass(frozen=True)
class Work:
    """The most passes per image that an attack needs, and the cost of one (3 with a backward pass)."""

    passes: int
    weight: int

    @property
    def cost(self) -> int:
        """Forward passes per image."""
        return self.passes * self.weight


class Meter:
    """Adds up work: samples that an attack need not see any more count as done."""

    def __init__(self, report: Report | None, total: int) -> None:
        self._report = report or (lambda done, total, robust: None)
        self._total = max(total, 1)
        self._done = 0
        self._current = Work(0, 0)
        self._budget = 0
        self._spent = 0
        self._told = 0.0
        self.robust = 0

    def start(self, images: int, work: Work) -> None:
        """Begin one batch of `images`."""
        self._current, self._budget, self._spent = work, images * work.cost, 0

    def passed(self, images: int) -> None:
        """Count a pass of `images` through the network; overshoot beyond the batch's budget is not shown."""
        self._spent = min(self._spent + images * self._current.weight, self._budget)
        if time.monotonic() - self._told > _INTERVAL:
            self._tell()

    def finish(self) -> None:
        """End the batch: what it did not need of its budget is done too."""
        self._done += self._budget
        self._budget = self._spent = 0
        self._tell()

    def skip(self, images: int, work: Work) -> None:
        """Count `images` that are not attacked as done."""
        self._done += images * work.cost
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        self._report(min(self._done + self._spent, self._total), self._total, self.robust)
