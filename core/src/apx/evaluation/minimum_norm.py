"""Minimum-norm attacks: their result, and the parts that FMN and its configurable variant share."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError
from .margins import logit_margin
from .norms import length, order_of

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, classes], labels [B]) -> what the attack minimises, [B]."""

_GROWTHS = tuple(1e-4 * 2**time for time in range(6))
_ROUNDING = 1e-5  # of logits, relative to the largest: what batch size and kernel may change


@dataclass(frozen=True)
class MinimumNorm:
    """The nearest adversarial images that an attack has found.

    Attributes:
        x_adv: [B, C, H, W] in [0, 1]; the clean image where none was found.
        distances: float32 [B], the norm of x_adv - x; 0 where the clean image is misclassified, +inf where no
            adversarial image was found.
    """

    x_adv: Tensor
    distances: Tensor


class Nearest:
    """Keeps the nearest misclassified image of each sample so far.

    Attributes:
        distances: float32 [B], +inf where none was seen.
        seen: bool [B], some misclassified image was seen.
    """

    def __init__(self, x: Tensor, norm: str) -> None:
        self._x, self._norm = x, norm
        self._x_adv = x.clone()
        self.distances = torch.full((len(x),), math.inf, device=x.device)
        self.seen = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def update(self, x_adv: Tensor, wrong: Tensor, *, ties: bool = True) -> None:
        """Note the images `x_adv`, misclassified where `wrong` [B]; of two at the same distance keep the later one.

        With `ties` false the earlier one is kept.
        """
        distances = length(x_adv - self._x, self._norm)
        nearer = distances <= self.distances if ties else distances < self.distances
        chosen = wrong & nearer
        self.seen |= wrong
        self.distances = torch.where(chosen, distances, self.distances)
        self._x_adv = torch.where(_like_images(chosen, x_adv), x_adv, self._x_adv)

    @torch.no_grad()
    def result(self, model: nn.Module, y: Tensor) -> MinimumNorm:
        """Predict the kept images once more; one that is not misclassified counts as not found.

        The nearest image can lie so close to the boundary that another batch size or another kernel predicts it
        otherwise. An image that is not misclassified by more than rounding is therefore moved on, away from the
        clean one, by a ten-thousandth of its distance and then by twice as much each time, at most by 0.7 % in all.
        """
        x_adv = moved = self._x_adv
        logits = model(x_adv)
        wrong = logits.argmax(dim=1) != y
        unsure = self.distances.isfinite() & (self.distances > 0) & ~_clearly_wrong(logits, y)
        for growth in _GROWTHS:
            if not unsure.any():
                break
            moved = (self._x + (moved - self._x) * (1.0 + growth)).clamp(0.0, 1.0)
            settled = unsure & _clearly_wrong(model(moved), y)
            x_adv = torch.where(_like_images(settled, moved), moved, x_adv)
            wrong, unsure = wrong | settled, unsure & ~settled
        found = wrong & self.distances.isfinite()
        x_adv = torch.where(_like_images(found, x_adv), x_adv, self._x)
        return MinimumNorm(x_adv, torch.where(found, length(x_adv - self._x, self._norm), math.inf))


def check_request(x: Tensor, y: Tensor, norm: str, steps: int) -> None:
    """Refuse what no minimum-norm attack can work with.

    Raises:
        UserError: an unknown norm, fewer than one step, or images and labels that do not fit together.
    """
    order_of(norm)
    if steps < 1:
        raise UserError(f"cannot attack in {steps} steps: steps must be at least 1")
    if x.dim() != 4 or y.shape != x.shape[:1]:
        raise UserError(
            f"cannot attack images {tuple(x.shape)} with labels {tuple(y.shape)}: "
            "the shapes must be [B, C, H, W] and [B]"
        )


def annealed(step: int, steps: int, first: float, last: float) -> float:
    """Return the value at `step` (0 to steps - 1) of the cosine that falls from `first` towards `last`."""
    return last + (first - last) * (1.0 + math.cos(math.pi * step / steps)) / 2.0


def gradient_of(model: nn.Module, x_adv: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits [B, classes], losses [B] and the gradient of each loss in its image, all detached.

    A model that does not depend on its input has the gradient 0.
    """
    images = x_adv.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model(images).float()
        losses = loss(logits, y)
    gradient = None
    if losses.requires_grad:
        (gradient,) = torch.autograd.grad(losses.sum(), images, allow_unused=True)
    return logits.detach(), losses.detach(), torch.zeros_like(x_adv) if gradient is None else gradient


def next_eps(eps: Tensor, wrong: Tensor, nearest: Nearest, gamma: float, unbounded: Tensor | float) -> Tensor:
    """Return the radii of the next projection, [B], for the norms L1, L2 and Linf.

    They shrink by `gamma` where the iterate is misclassified, below the best distance; they grow by `gamma` where it
    is not, and are `unbounded` where no misclassified image was seen yet (Pintor et al., algorithm 1, lines 6-11).
    """
    shrunk = torch.minimum(eps * (1.0 - gamma), nearest.distances)
    grown = torch.where(nearest.seen, eps * (1.0 + gamma), unbounded)
    return torch.where(wrong, shrunk, grown)


def next_count(eps: Tensor, wrong: Tensor, nearest: Nearest, gamma: float, *, least: int = 1) -> Tensor:
    """Return the radii of the next projection for L0, [B]: whole numbers that change by at least one."""
    shrunk = torch.minimum(torch.minimum(eps - 1, (eps * (1.0 - gamma)).floor()), nearest.distances)
    grown = torch.maximum(eps + 1, (eps * (1.0 + gamma)).floor())
    return torch.where(wrong, shrunk, grown).clamp_min(least)


def largest_distances(x: Tensor, norm: str) -> Tensor:
    """Return how far the furthest image of [0, 1] is from each of `x`, float32 [B]."""
    return length(torch.maximum(x, 1.0 - x), norm)


def _clearly_wrong(logits: Tensor, y: Tensor) -> Tensor:
    return logit_margin(logits.float(), y) < -_ROUNDING * logits.float().abs().amax(dim=1)


def _like_images(mask: Tensor, x: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (x.dim() - 1))
