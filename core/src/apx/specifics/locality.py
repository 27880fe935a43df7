"""Where scores compete: inside each layer, or across all layers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..selection import keep_highest, keep_highest_global, pruned_count
from .rates import RateStrategy, Uniform
from .structure import Structure


class Locality(ABC):
    """Chooses the units that stay."""

    label: ClassVar[str]

    @abstractmethod
    def select(
        self,
        scores: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        sparsity: float,
        structure: Structure,
    ) -> dict[str, Tensor]:
        """Return bool masks over units from unit scores; `shapes` are the weights' shapes."""


@dataclass(frozen=True)
class Local(Locality):
    """Rank inside each layer; a rate strategy says how many each layer keeps (L)."""

    rates: RateStrategy = field(default_factory=Uniform)
    label = "L"

    def select(
        self,
        scores: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        sparsity: float,
        structure: Structure,
    ) -> dict[str, Tensor]:
        """Keep each layer's highest scores."""
        kept = self.rates.kept(shapes, sparsity, structure)
        return {name: keep_highest(score, kept[name]) for name, score in scores.items()}


@dataclass(frozen=True)
class Global(Locality):
    """Rank all layers' units in one list: round(s N) are removed in total (G).

    Args:
        at_least: units that every layer keeps; structured pruning needs 1, or a layer would vanish.
        round_down: remove floor(s N) instead, where a paper counts so.
    """

    at_least: int = 0
    round_down: bool = False
    label = "G"

    def select(
        self,
        scores: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        sparsity: float,
        structure: Structure,
    ) -> dict[str, Tensor]:
        """Keep the highest scores of all layers together."""
        total = sum(score.numel() for score in scores.values())
        removed = pruned_count(sparsity, total) if self.round_down else round(sparsity * total)
        return keep_highest_global(scores, total - removed, at_least=self.at_least)
