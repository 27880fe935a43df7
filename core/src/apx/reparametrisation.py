"""How an effective weight arises from hidden tensors: the product with a mask, learned scores."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from .selection import keep_highest


class Reparametrisation(nn.Module):
    """Effective weight of one tensor as a differentiable function of the hidden weight and own parameters.

    Subclasses register what they learn as parameters (factors, scores) and implement `forward`.
    """

    @abstractmethod
    def forward(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        """Return the effective weight, shape of `weight`; gradients flow to `weight` and to own parameters."""

    def own_mask(self, weight: Tensor) -> Tensor | None:
        """Return the mask that this reparametrisation learns (bool, shape of `weight`), or None if it learns none."""
        return None


class Product(Reparametrisation):
    """w * m, the plain masked weight."""

    def forward(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        """Return weight * mask."""
        return weight if mask is None else weight * mask


class LearnedScores(Reparametrisation):
    """Keep the entries whose |score| ranks highest; scores learn through a straight-through estimator.

    Forward w * 1[|s| among the `kept` highest]; backward dL/d|s| := dL/dm, so every score gets a gradient
    (Ramanujan et al., CVPR 2020; HYDRA, eq. 1 relaxed).

    Args:
        scores: initial scores, of the weight's shape or broadcastable to it (one score per filter: [out, 1, 1, 1]).
        kept: how many scores survive.
    """

    def __init__(self, scores: Tensor, kept: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores.detach().clone())
        self._kept = kept

    @property
    def kept(self) -> int:
        """How many scores survive; a subclass may derive it from something it learns."""
        return self._kept

    def top(self) -> Tensor:
        """Return the 0/1 mask of the highest |scores|, shape of the scores, through which the scores learn.

        A subclass that learns how many survive adds the gradient path of that.
        """
        return _StraightThroughTop.apply(self.scores.abs(), self.kept)

    def forward(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        """Return the weight times the top-`kept` mask of |scores|; `mask` limits what may survive."""
        effective = weight * self.top()
        return effective if mask is None else effective * mask

    def own_mask(self, weight: Tensor) -> Tensor:
        """Return the mask that the current scores choose, expanded to the weight's shape."""
        return keep_highest(self.scores.detach().abs(), self.kept).expand_as(weight).contiguous()


class _StraightThroughTop(torch.autograd.Function):
    """Top-k mask of the scores whose gradient passes to all scores unchanged."""

    @staticmethod
    def forward(ctx: object, saliency: Tensor, kept: int) -> Tensor:
        return keep_highest(saliency, kept).to(saliency.dtype)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def scaled_score_init(weight: Tensor, *, per_filter: bool = False, per_channel: bool = False) -> Tensor:
    """Return HYDRA's scaled initial scores, sqrt(6 / fan_in) * w / max|w| (paper eq. 2; fan_in = in * kh * kw).

    With `per_filter`, one score per output filter from the filters' l1 norms: shape [out, 1, ...]. With `per_channel`,
    one per input channel likewise, shape [1, in, 1, ...]; fan_in is then that of the scores themselves, 1 (HARP).
    """
    fan_in = 1 if per_channel else weight[0].numel()
    base = weight.detach()
    if per_filter or per_channel:
        base = slice_norms(base, dim=0 if per_filter else 1)
    return math.sqrt(6.0 / fan_in) * base / base.abs().max()


def slice_norms(weight: Tensor, dim: int) -> Tensor:
    """Return the l1 norm of each slice of `weight` along `dim`, the other dimensions kept at size 1."""
    norms = weight.transpose(0, dim).flatten(1).abs().sum(dim=1)
    return norms.view([-1 if other == dim else 1 for other in range(weight.dim())])
