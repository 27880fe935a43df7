"""The official code's threshold, in place of exact counts."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from apx.selection import order_statistic
from apx.specifics import Locality, Structure


@dataclass(frozen=True)
class Threshold(Locality):
    """The official code: keep S > t, t the int((1 - rho) N)-th smallest score; all that tie at t go.

    Args:
        across: one threshold for all layers (G), or one for each (L).
    """

    across: bool = True

    def select(
        self,
        scores: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        sparsity: float,
        structure: Structure,
    ) -> dict[str, Tensor]:
        """Keep what lies above the threshold."""
        if not self.across:
            return {name: _above(score, score, sparsity) for name, score in scores.items()}
        everything = torch.cat([score.flatten() for score in scores.values()])
        return {name: _above(score, everything, sparsity) for name, score in scores.items()}


def _above(score: Tensor, ranked: Tensor, sparsity: float) -> Tensor:
    """Return S > t, or all True where nothing is to go."""
    rank = int(sparsity * ranked.numel())
    return score > order_statistic(ranked.flatten(), rank) if rank >= 1 else score >= 0
