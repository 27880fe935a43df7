"""When the sparsity is reached: in one shot, or in rounds."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


class Schedule(ABC):
    """The sparsity targets of the successive pruning steps; the last is the requested sparsity."""

    label: ClassVar[str]

    @abstractmethod
    def targets(self, sparsity: float) -> list[float]:
        """Return the increasing targets, ending in `sparsity`."""


@dataclass(frozen=True)
class OneShot(Schedule):
    """Prune once (1S)."""

    label = "1S"

    def targets(self, sparsity: float) -> list[float]:
        """Return the one target."""
        return [sparsity]


@dataclass(frozen=True)
class Iterative(Schedule):
    """Prune in rounds (IT): each removes the same share of what is left, 1 - (1 - s)^(i / rounds)."""

    rounds: int = 4
    label = "IT"

    def targets(self, sparsity: float) -> list[float]:
        """Return one target per round."""
        kept = 1.0 - sparsity
        partial = [1.0 - kept ** (i / self.rounds) for i in range(1, self.rounds)]
        return [*partial, sparsity]
