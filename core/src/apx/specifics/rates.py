"""How much each layer keeps when layers are ranked inside themselves: uniform, ERK, IGQ."""

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


@dataclass(frozen=True)
class IGQ(RateStrategy):
    """Ideal gas quotas: a layer of n units keeps the share 1 / (1 + F n), so that large layers give most.

    The one force F > 0 follows from the total; small layers stay almost dense. As in the code of FlyingBird (Chen et
    al., ICLR 2022, arXiv 2202.09844).
    """

    label = "fixed-nonuniform"

    def kept(self, shapes: Mapping[str, Sequence[int]], sparsity: float, structure: Structure) -> dict[str, int]:
        """See the base class; each layer loses floor(s_l n) units, so that up to one per layer too many stay."""
        counts = [structure.count(shape) for shape in shapes.values()]
        sparsities = igq_sparsities(counts, sparsity)
        return {name: max(1, n - int(s * n)) for name, n, s in zip(shapes, counts, sparsities, strict=True)}


def igq_sparsities(counts: Sequence[int], sparsity: float) -> list[float]:
    """Return each layer's sparsity F n / (1 + F n) for layers of `counts` units and the total `sparsity`.

    F is found by bisection on [0, 1e20], until the total is met within one unit of all.
    """
    total = sum(counts)
    low, high = 0.0, 1e20
    force = low
    while True:
        kept = [n / (1.0 + force * n) for n in counts]
        off = (1.0 - sum(kept) / total) - sparsity
        if abs(off) < 1.0 / total:
            return [1.0 - k / n for k, n in zip(kept, counts, strict=True)]
        low, high = (force, high) if off < 0 else (low, force)
        force = (low + high) / 2


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
