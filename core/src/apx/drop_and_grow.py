"""One topology update of dynamic sparse training, layer by layer: drop the smallest weights, grow others.

SET (Mocanu et al., Nature Communications 2018, arXiv 1707.04780) grows at random, RigL (Evci et al., ICML 2020,
arXiv 1911.11134) where the dense gradient is largest. Everything here is a function of tensors: what is due when, and
how much, is a method's own. Whatever is dropped is a candidate for growth again, with its value.
"""

import torch
from torch import Tensor

from .selection import keep_highest, order_statistic


def drop_lowest(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return the mask without its `count` smallest magnitudes (SET and RigL alike).

    Active weights that are still zero go first. Ties with the last one dropped go too, so that more than `count` may:
    a method that keeps its density counts what is left.

    Args:
        weight: any shape; values outside the mask do not matter.
        mask: bool, same shape, the active entries.
        count: 0 leaves the mask as it is, the number of active entries or more empties it.

    Returns:
        bool mask, a subset of `mask`.
    """
    active = int(mask.sum())
    if count <= 0 or active == 0:
        return mask
    magnitude = (weight.detach() * mask).abs()
    threshold = order_statistic(magnitude, min(mask.numel() - active + count, mask.numel()))
    return magnitude > threshold


def grow_random(mask: Tensor, count: int, uniform: Tensor) -> Tensor:
    """Return the mask with `count` more entries, drawn without replacement (SET, with an exact count).

    Args:
        mask: bool, the active entries.
        count: how many to grow.
        uniform: independent uniform [0, 1) numbers, shape of `mask`; the highest outside the mask win.

    Raises:
        ValueError: there are fewer inactive entries than `count`.
    """
    return _grow(mask, count, uniform)


def grow_bernoulli(mask: Tensor, expected: float, uniform: Tensor) -> Tensor:
    """Return the mask with each inactive entry added independently, `expected` of them on average.

    Args:
        mask: bool, the active entries.
        expected: mean number of entries grown, capped at the number of inactive ones.
        uniform: independent uniform [0, 1) numbers, shape of `mask`.
    """
    inactive = int((~mask).sum())
    if inactive == 0:
        return mask
    return mask | (uniform < min(expected, inactive) / inactive)


def grow_gradient(mask: Tensor, count: int, gradient: Tensor) -> Tensor:
    """Return the mask with the `count` inactive entries whose gradient is largest in magnitude (RigL).

    Args:
        mask: bool, the active entries.
        count: how many to grow.
        gradient: the dense gradient, shape of `mask`; its values at active entries do not matter.

    Raises:
        ValueError: there are fewer inactive entries than `count`, or a gradient is NaN.
    """
    return _grow(mask, count, gradient.detach().abs())


def _grow(mask: Tensor, count: int, scores: Tensor) -> Tensor:
    """Add the `count` inactive entries with the highest scores, all of which are at least 0."""
    inactive = int((~mask).sum())
    if not 0 <= count <= inactive:
        raise ValueError(f"cannot grow {count} of {inactive} inactive weights")
    return mask | keep_highest(torch.where(mask, -1.0, scores), count)
