"""Which weights a method kept, beside those that magnitude pruning would have kept of the same dense network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..selection import keep_highest
from ..specifics import Structure, structure_of

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""The quantiles of |w| that are reported."""

BINS = 32


@dataclass(frozen=True)
class LayerWeights:
    """One layer's kept and removed weights, by the magnitudes |w| they had in the dense network.

    Args:
        layer: the weight's name.
        weights: number of weights.
        kept: number of kept weights.
        granularity: the units that magnitude pruning ranks here, by the sum of |w| over each.
        jaccard: |K and M| / |K or M|, K the kept weights, M as many kept by magnitude; None where nothing is kept.
        by_magnitude: |K and M| / |K|, the share of the kept weights that magnitude would keep; None likewise.
        by_chance: the share that a random choice would reach on average, the layer's density.
        kept_magnitudes: `QUANTILES` of |w| of the kept weights, None where there are none.
        removed_magnitudes: likewise of the removed weights.
        histogram: `edges` (33, from 0 to the largest |w|) and counts of `kept` and `removed` in the 32 bins.
    """

    layer: str
    weights: int
    kept: int
    granularity: str
    jaccard: float | None
    by_magnitude: float | None
    by_chance: float
    kept_magnitudes: tuple[float, ...] | None
    removed_magnitudes: tuple[float, ...] | None
    histogram: Mapping[str, Sequence[float]]

    @property
    def sparsity(self) -> float:
        """Share of removed weights."""
        return 1.0 - self.kept / self.weights

    @property
    def common(self) -> int:
        """Number of kept weights that magnitude would keep."""
        return round((self.by_magnitude or 0.0) * self.kept)

    def document(self) -> dict[str, Any]:
        """Return the layer as plain JSON values."""
        return {**asdict(self), "sparsity": self.sparsity}


@dataclass(frozen=True)
class WeightComparison:
    """All layers, in the masks' order; totals count the weights of the layers that are pruned at all."""

    layers: tuple[LayerWeights, ...]

    @property
    def pruned(self) -> tuple[LayerWeights, ...]:
        """The layers that lost at least one weight; in the others every choice is the same."""
        return tuple(layer for layer in self.layers if layer.kept < layer.weights)

    def total(self) -> dict[str, float | int | None]:
        """Return `weights`, `kept`, `sparsity`, `jaccard`, `by_magnitude` and `by_chance` over the pruned layers."""
        weights = sum(layer.weights for layer in self.pruned)
        kept = sum(layer.kept for layer in self.pruned)
        common = sum(layer.common for layer in self.pruned)
        return {
            "weights": weights,
            "kept": kept,
            "sparsity": 1.0 - kept / weights if weights else 0.0,
            "jaccard": common / (2 * kept - common) if kept else None,
            "by_magnitude": common / kept if kept else None,
            "by_chance": sum(layer.kept * layer.by_chance for layer in self.pruned) / kept if kept else None,
        }

    def document(self) -> dict[str, Any]:
        """Return the comparison as plain JSON values."""
        return {
            "quantiles": list(QUANTILES),
            "layers": [layer.document() for layer in self.layers],
            "total": self.total(),
        }


def compare_weights(
    dense: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, granularity: str = "weights"
) -> WeightComparison:
    """Compare what masks keep with what magnitude pruning at each layer's own sparsity would have kept.

    The comparison is that of several papers' figures: if the overlap is high, a method's criterion does little that
    the magnitudes of the dense network had not said already.

    Args:
        dense: state dict of the network that was pruned, before pruning.
        masks: weight name -> bool mask of its shape; True keeps.
        granularity: what one mask bit removes. A layer whose mask does not consist of whole units is compared weight
            by weight.

    Raises:
        UserError: no mask, a mask without a weight of its shape in `dense`, or an unknown granularity.
    """
    if not masks:
        raise UserError("there are no masks to compare: the network has no convolution or linear weights")
    structure = structure_of(granularity)
    for name, mask in masks.items():
        if name not in dense or dense[name].shape != mask.shape:
            found = "no such tensor" if name not in dense else f"shape {list(dense[name].shape)}"
            raise UserError(
                f"the dense network does not fit: {name} has a mask of shape {list(mask.shape)} and the dense network "
                f"has {found}; give the dense network of the same architecture and width"
            )
    return WeightComparison(tuple(_layer(name, dense[name], mask, structure) for name, mask in masks.items()))


def magnitude_mask(weight: Tensor, mask: Tensor, structure: Structure) -> Tensor | None:
    """Return the bool mask of as many units as `mask` keeps, by magnitude; None where it keeps units in part."""
    units = structure.reduce(mask.double()) > 0
    if not torch.equal(structure.expand(units, mask.shape), mask):
        return None
    saliency = structure.reduce(weight.abs().double())
    return structure.expand(keep_highest(saliency, int(units.sum())), mask.shape)


def _layer(name: str, dense: Tensor, mask: Tensor, structure: Structure) -> LayerWeights:
    weight, mask = dense.detach().cpu().float(), mask.cpu()
    granularity = structure.granularity
    by_magnitude = magnitude_mask(weight, mask, structure) if weight.dim() >= 2 else None
    if by_magnitude is None:
        granularity = "weights"
        by_magnitude = keep_highest(weight.abs(), int(mask.sum()))
    kept = int(mask.sum())
    common = int((mask & by_magnitude).sum())
    size = weight.abs()
    return LayerWeights(
        layer=name,
        weights=mask.numel(),
        kept=kept,
        granularity=granularity,
        jaccard=common / (2 * kept - common) if kept else None,
        by_magnitude=common / kept if kept else None,
        by_chance=kept / mask.numel(),
        kept_magnitudes=_quantiles(size[mask]),
        removed_magnitudes=_quantiles(size[~mask]),
        histogram=_histogram(size, mask),
    )


def _quantiles(values: Tensor) -> tuple[float, ...] | None:
    import numpy

    if not len(values):
        return None
    return tuple(float(value) for value in numpy.quantile(values.numpy(), QUANTILES))


def _histogram(size: Tensor, mask: Tensor) -> dict[str, list[float]]:
    import numpy

    edges = numpy.linspace(0.0, max(float(size.max()), math.ulp(0.0)), BINS + 1)
    counts = {"kept": size[mask], "removed": size[~mask]}
    found = {name: numpy.histogram(values.numpy(), bins=edges)[0].tolist() for name, values in counts.items()}
    return {"edges": edges.tolist(), **found}
