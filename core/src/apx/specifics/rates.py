"""How much each layer keeps when layers are ranked inside themselves: uniform, ERK."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..selection import pruned_count
from .structure import Structure


class RateStrategy(ABC):
    """Turns the total sparsity into kept counts per layer."""

    label: ClassVar[str]  # the budget's name in the vocabulary

    @abstractmethod
    def kept(self, shapes: Mapping[str, Sequence[int]], sparsity: float, structure: Structure) -> dict[str, int]:
        """Return weight name -> number of units kept (at least 1), given the weights' shapes."""


@dataclass(frozen=True)
class Uniform(RateStrategy):
    """Every layer loses the same share: n - floor(s n) units stay."""

    label = "uniform"

    def kept(self, shapes: Mapping[str, Sequence[int]], sparsity: float, structure: Structure) -> dict[str, int]:
        """See the base class."""
        counts = {name: structure.count(shape) for name, shape in shapes.items()}
        return {name: max(1, n - pruned_count(sparsity, n)) for name, n in counts.items()}


@dataclass(frozen=True)
class ERK(RateStrategy):
    """Erdos-Renyi-Kernel: density proportional to sum(shape) / prod(shape), layers capped at dense (RigL, 2020)."""

    label = "fixed-nonuniform"

    def kept(self, shapes: Mapping[str, Sequence[int]], sparsity: float, structure: Structure) -> dict[str, int]:
        """See the base class; the total is met up to rounding, one unit per layer."""
        counts = {name: structure.count(shape) for name, shape in shapes.items()}
        raw = {name: sum(shape) / _product(shape) for name, shape in shapes.items()}
        budget = (1.0 - sparsity) * sum(counts.values())
        dense: set[str] = set()
        while True:
            free = [name for name in shapes if name not in dense]
            left = budget - sum(counts[name] for name in dense)
            weight = sum(raw[name] * counts[name] for name in free)
            scale = left / weight if weight else 0.0
            over = [name for name in free if scale * raw[name] > 1.0]
            if not over:
                break
            dense.update(over)
        kept = {name: counts[name] if name in dense else round(scale * raw[name] * counts[name]) for name in shapes}
        return {name: min(counts[name], max(1, k)) for name, k in kept.items()}


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
