"""Learned rates: how many of a layer's scores survive follows from a trainable quota."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from apx.reparametrisation import LearnedScores

Count = Callable[[Tensor, int], int]


class RatedScores(LearnedScores):
    """Scores of which the share g(r) survives, r being the layer's trainable quota (section 3).

    As in `LearnedScores` the scores learn by dL/d|s| := dL/dm; the rate learns by dL/da := sum of dL/dm over the mask.

    Args:
        scores: initial scores, of the weight's shape, or one per input channel.
        quota: r, a 0-dim parameter, which layers may share.
        floor: a_min, the lowest rate.
        count: the number of survivors for a rate and a number of scores: `kept_weights` or `kept_channels`.
        follows: take the quota's value alone, without training it (a shortcut behind its block's first convolution).
    """

    def __init__(
        self, scores: Tensor, quota: nn.Parameter, floor: float, count: Count, *, follows: bool = False
    ) -> None:
        super().__init__(scores, scores.numel())
        self.quota = quota
        self.floor = floor
        self.follows = follows
        self._count = count

    def rate(self) -> Tensor:
        """Return a = g(r), 0-dim, differentiable in the quota unless the layer follows another's."""
        return rate_of(self.quota.detach() if self.follows else self.quota, self.floor)

    @property
    def kept(self) -> int:
        """How many scores survive at the current rate."""
        return self._count(self.rate().detach(), self.scores.numel())

    def top(self) -> Tensor:
        """Return the mask of the highest |scores|, with a gradient to the scores and to the rate."""
        rate = self.rate()
        return super().top() + (rate - rate.detach())  # adds zero, and one path for each entry of the mask


def rate_of(quota: Tensor, floor: float) -> Tensor:
    """Return g(r) = a_min + (1 - a_min) sigmoid(r), in (a_min, 1)."""
    return torch.sigmoid(quota) * (1 - floor) + floor


def quota_of(rate: float, floor: float) -> Tensor:
    """Return r with g(r) = `rate`, float32; the share above the floor is first limited to [0.01, 0.99].

    The official code limits it to -0.99 below, so that a rate under the floor becomes NaN.
    """
    return torch.logit(torch.tensor((rate - floor) / (1 - floor)).clamp(0.01, 0.99))


def kept_weights(rate: Tensor, total: int) -> int:
    """Return n - int((1 - a) n) in the rate's precision, as the official code counts weights."""
    return total - int((1 - rate) * total)


def kept_channels(rate: Tensor, total: int) -> int:
    """Return a n rounded half to even, at least 1 (the official code may keep none, which kills the network)."""
    return max(1, int(torch.round(rate * total)))


def followed(names: list[str]) -> Mapping[str, str]:
    """Map each shortcut's weight to that of its block's first layer, by name; both read the block's input."""
    leaders = {}
    for name in names:
        parts = name.split(".")
        at = next((n for n, part in enumerate(parts) if _shortcut(part)), None)
        if at is None:
            continue
        block = [other for other in names if other.split(".")[:at] == parts[:at]]
        inner = [other for other in block if not any(map(_shortcut, other.split(".")))]
        if inner:
            leaders[name] = inner[0]
    return leaders


def _shortcut(part: str) -> bool:
    return "shortcut" in part.lower() or "downsample" in part
