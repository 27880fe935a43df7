"""The official code's cut at a percentile of a layer's unit norms, in place of exact counts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from apx.admm import energy
from apx.selection import above_percentile, keep_highest, order_statistic
from apx.specifics import Local, Structure


@dataclass(frozen=True)
class Percentile(Local):
    """What lies strictly above the 100 p-th percentile of its layer stays; units at it go, but one always stays.

    Of n distinct norms n - 1 - floor(p (n - 1)) stay: the exact count, or one less.
    """

    def select(
        self,
        scores: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        sparsity: float,
        structure: Structure,
    ) -> dict[str, Tensor]:
        """See the base class; the rates are not asked."""
        above = {name: above_percentile(score, sparsity) for name, score in scores.items()}
        return {name: mask if mask.any() else keep_highest(scores[name], 1) for name, mask in above.items()}


def project_at_percentile(weight: Tensor, structure: Structure, sparsity: float) -> Tensor:
    """Return `weight` with the units below the percentile of their norms set to zero; units at it stay.

    So a unit at the percentile belongs to the projection and not to the mask of `Percentile`, as in the code.
    """
    norms = structure.reduce(energy(weight))
    rank = math.ceil(round(sparsity * (norms.numel() - 1), 9)) + 1  # the lowest norm that is not below it
    return weight * structure.expand(norms >= order_statistic(norms, rank), weight.shape)
