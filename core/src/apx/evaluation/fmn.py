"""FMN, the fast minimum-norm attack (Pintor et al., NeurIPS 2021, arXiv 2102.12827)."""

import torch
from torch import Tensor, nn

from ..attacks import frozen
from .margins import logit_margin
from .minimum_norm import (
    MinimumNorm,
    Nearest,
    annealed,
    check_request,
    gradient_of,
    largest_distances,
    next_count,
    next_eps,
)
from .norms import dual_length, length, mid_point, project

_TINY = 1e-12


def fmn(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "Linf",
    steps: int = 100,
    alpha: float = 1.0,
    alpha_final: float | None = None,
    gamma: float = 0.05,
    gamma_final: float = 0.001,
    overshoot: float = 0.01,
    start: Tensor | None = None,
    search_steps: int = 10,
) -> MinimumNorm:
    """Find the nearest adversarial images by gradient steps and a ball whose radius follows the boundary.

    Each step goes along the gradient of the logit margin, normalised in L2 (no sign), and projects to the ball and to
    [0, 1]. Every iterate is tested, the last one too, which the authors' code does not test. The projections are
    exact, also where published code errs: L2 scales by min(1, eps / norm), L0 keeps exactly eps entries. Until a
    misclassified image is seen, the radius is the estimated distance of the boundary and a hundredth more: where the
    model is linear the paper's own estimate leads to the boundary and never across it, and clipping to [0, 1] makes it
    fall short each time, so that the attack fails on samples with a near boundary.

    Args:
        model: maps images to logits [B, classes]; parameters and mode are as before on return.
        x: images, float [B, C, H, W] in [0, 1].
        y: labels, int64 [B].
        norm: L0, L1, L2 or Linf.
        steps: gradient steps; with them go two forward passes.
        alpha: length of the first step, in L2.
        alpha_final: what the cosine of the step length falls to; alpha / 100 where None.
        gamma: first relative change of the radius.
        gamma_final: what the cosine of the change falls to.
        overshoot: how much larger the radius is than the estimated distance of the boundary; 0 in the paper.
        start: images [B, C, H, W] in [0, 1] to start from; where one is misclassified, the attack starts at the
            boundary on the way to it, elsewhere (and where None) at `x`.
        search_steps: bisections on the way to `start`.

    Returns:
        The nearest images found, each predicted once more at the end.

    Raises:
        UserError: unknown norm, no step, or shapes that do not fit.
    """
    check_request(x, y, norm, steps)
    x, last = x.detach(), alpha / 100.0 if alpha_final is None else alpha_final
    with frozen(model):
        nearest = Nearest(x, norm)
        x_adv = x if start is None else _from_start(model, x, y, start.detach(), norm, search_steps, nearest)
        eps, most = _first_eps(x_adv - x, norm), largest_distances(x, norm)
        for step in range(steps):
            logits, margins, gradient = gradient_of(model, x_adv, y, logit_margin)
            wrong = logits.argmax(dim=1) != y
            nearest.update(x_adv, wrong)
            change = annealed(step, steps, gamma, gamma_final)
            if norm == "L0":
                eps = next_count(eps, wrong, nearest, change)
            else:
                boundary = _estimated_boundary(x_adv - x, margins, gradient, norm) * (1.0 + overshoot)
                eps = next_eps(eps, wrong, nearest, change, boundary)
            eps = torch.minimum(eps, most)
            moved = x_adv - x - annealed(step, steps, alpha, last) * _unit(gradient)
            x_adv = (x + project(moved, eps, norm)).clamp(0.0, 1.0)
        nearest.update(x_adv, _misclassified(model, x_adv, y))
        return nearest.result(model, y)


def _first_eps(delta: Tensor, norm: str) -> Tensor:
    counts = length(delta, "L0").clamp_min(1.0)
    return counts if norm == "L0" else torch.full_like(counts, torch.inf)


def _estimated_boundary(delta: Tensor, margins: Tensor, gradient: Tensor, norm: str) -> Tensor:
    """Return the norm at which the linearised margin is zero, [B] (algorithm 1, line 7)."""
    return length(delta, norm) + margins.abs() / dual_length(gradient, norm).clamp_min(_TINY)


def _unit(gradient: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp_min(_TINY)
    return gradient / size.view(-1, *[1] * (gradient.dim() - 1))


def _from_start(
    model: nn.Module, x: Tensor, y: Tensor, start: Tensor, norm: str, search_steps: int, nearest: Nearest
) -> Tensor:
    """Return the images at the boundary on the way to `start`; note the clean ones, which the loop does not meet."""
    nearest.update(x, _misclassified(model, x, y))
    usable = _misclassified(model, start, y)
    low, high = torch.zeros(len(x), device=x.device), torch.ones(len(x), device=x.device)
    for _ in range(search_steps):
        middle = (low + high) / 2
        wrong = _misclassified(model, mid_point(x, start, middle, norm), y)
        low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
    return mid_point(x, start, torch.where(usable, high, 0.0), norm)


@torch.no_grad()
def _misclassified(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return model(x).argmax(dim=1) != y
