"""The norms L0, L1, L2 and Linf of perturbations: length, projection to the ball, points on the way to a start.

L0 counts entries of [C, H, W], so a pixel whose three channels change counts three times, as in the papers.
"""

import math

import torch
from torch import Tensor

from ..lookup import choose

ORDERS = {"L0": 0.0, "L1": 1.0, "L2": 2.0, "Linf": math.inf}
"""The norms and their p."""


def order_of(norm: str) -> float:
    """Return p of the norm `norm`.

    Raises:
        UserError: there is no such norm.
    """
    return choose(ORDERS, norm, "norm")


def length(delta: Tensor, norm: str) -> Tensor:
    """Return the norm of each of `delta` [B, ...], float32 [B]."""
    return torch.linalg.vector_norm(delta.flatten(1), ord=order_of(norm), dim=1).float()


def dual_length(delta: Tensor, norm: str) -> Tensor:
    """Return the norm dual to `norm` (L1, L2 or Linf; L0 has none) of each of `delta` [B, ...], float32 [B]."""
    return length(delta, {"L1": "Linf", "L2": "L2", "Linf": "L1"}[norm])


def project(delta: Tensor, eps: Tensor, norm: str, *, weights: Tensor | None = None) -> Tensor:
    """Project each of `delta` [B, ...] to the ball of its radius `eps` [B].

    The projections are Euclidean. For L0 the floor(eps) largest entries stay; of equal ones those with the largest
    `weights` (of the shape of `delta`), and then those that come first. An infinite radius changes nothing.
    """
    flat, radius = delta.flatten(1), eps.to(delta.dtype)[:, None]
    match norm:
        case "L0":
            projected = _project_l0(flat, radius, None if weights is None else weights.flatten(1))
        case "L1":
            projected = _project_l1(flat, radius)
        case "L2":
            size = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
            projected = flat * (radius / size.clamp_min(1e-12)).clamp_max(1.0)
        case _:
            projected = torch.maximum(torch.minimum(flat, radius), -radius)
    return projected.view_as(delta)


def _project_l0(flat: Tensor, radius: Tensor, weights: Tensor | None) -> Tensor:
    first = (flat.abs() if weights is None else weights).argsort(dim=1, descending=True, stable=True)
    order = first.gather(1, flat.abs().gather(1, first).argsort(dim=1, descending=True, stable=True))
    kept = torch.arange(flat.shape[1], device=flat.device) < radius.floor()
    return flat * torch.zeros_like(kept).scatter(1, order, kept)


def _project_l1(flat: Tensor, radius: Tensor) -> Tensor:
    """Soft-threshold (Duchi et al., ICML 2008, figure 1)."""
    magnitude = flat.abs()
    ranked = magnitude.sort(dim=1, descending=True).values
    excess = ranked.cumsum(dim=1) - radius
    count = torch.arange(1, flat.shape[1] + 1, device=flat.device)
    support = (ranked * count > excess).sum(dim=1, keepdim=True).clamp_min(1)
    threshold = (excess.gather(1, support - 1) / support).clamp_min(0.0)
    threshold = torch.where(excess[:, -1:] > 0, threshold, 0.0)  # a point inside the ball stays as it is
    return flat.sign() * (magnitude - threshold).clamp_min(0.0)


def mid_point(x: Tensor, start: Tensor, share: Tensor, norm: str) -> Tensor:
    """Return the image at `share` [B] of the way from `x` to `start` [B, C, H, W]: 0 is `x`, 1 is `start`.

    The path grows in the norm (Pintor et al., NeurIPS 2021): L2 goes straight, Linf clips the difference at `share`,
    L1 soft-thresholds it at 1 - `share`, L0 keeps the floor(`share` of all) largest entries.
    """
    delta, part = start - x, share.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
    match norm:
        case "L0":
            moved = project(delta, share * delta[0].numel(), "L0")
        case "L1":
            moved = delta.sign() * (delta.abs() - (1.0 - part)).clamp_min(0.0)
        case "L2":
            moved = part * delta
        case _:
            moved = torch.maximum(torch.minimum(delta, part), -part)
    return (x + moved).clamp(0.0, 1.0)
