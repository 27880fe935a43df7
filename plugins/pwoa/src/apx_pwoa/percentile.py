"""The official code's counts: what lies below the 100p-th percentile of a layer's unit norms goes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apx.specifics import Structure
from apx.specifics.rates import RateStrategy


@dataclass(frozen=True)
class Percentile(RateStrategy):
    """Of n distinct norms, ceil(p (n - 1)) lie below the interpolated percentile; filters at it go too.

    Never more than one unit beside floor(p n), and at least one stays.
    """

    label = "uniform"

    def kept(self, shapes: Mapping[str, Sequence[int]], sparsity: float, structure: Structure) -> dict[str, int]:
        """See the base class."""
        counts = {name: structure.count(shape) for name, shape in shapes.items()}
        return {name: max(1, n - self._removed(sparsity, n, structure)) for name, n in counts.items()}

    def _removed(self, sparsity: float, total: int, structure: Structure) -> int:
        rank = round(sparsity * (total - 1), 9)  # counted from 0, between two norms in general
        return math.floor(rank) + 1 if structure.granularity == "filters" else math.ceil(rank)
