"""FMN with a configurable loss, optimiser and scheduler, as HO-FMN tunes it (arXiv 2407.08806, section 3)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..attacks import frozen
from .configuration import Configuration
from .margins import LOSSES
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
from .norms import project
from .plateau import Plateau

Fidelity = Literal["apx", "official"]

_GAMMA, _GAMMA_FINAL = 0.05, 0.001


def configured_fmn(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    steps: int,
    configuration: Configuration,
    seed: int = 0,
    fidelity: Fidelity = "apx",
) -> MinimumNorm:
    """Find the nearest adversarial images by an optimiser of torch that is given the sign of the gradient.

    Differs from the published code in three points: the last iterate is tested too (there it never is); the
    projections are exact (there L2 pushes inner points out to the sphere, and L0 keeps all tied entries, of which the
    gradient chooses here); and the per-sample rates of RLROP take effect (there the sign removes them).
    `fidelity="official"` undoes all three.

    Args:
        model: maps images to logits [B, classes]; parameters and mode are as before on return.
        x: images, float [B, C, H, W] in [0, 1].
        y: labels, int64 [B].
        norm: L0, L1, L2 or Linf.
        steps: gradient steps; with them go two forward passes.
        configuration: loss, optimiser, scheduler and their hyperparameters.
        seed: taken so that all attacks can be called alike; this one draws nothing at random.
        fidelity: "apx", or "official" to reproduce published numbers.

    Returns:
        The nearest images found, each predicted once more at the end.

    Raises:
        UserError: unknown norm, no step, shapes that do not fit, or loss DLR on fewer than 3 classes.
    """
    check_request(x, y, norm, steps)
    x, official = x.detach(), fidelity == "official"
    with frozen(model):
        nearest, most = Nearest(x, norm), largest_distances(x, norm)
        descent = _Descent(x, norm, steps, configuration, official=official)
        eps = torch.ones_like(most) if norm == "L0" else torch.full_like(most, torch.inf)
        for step in range(steps):
            logits, losses, gradient = gradient_of(model, descent.x_adv, y, LOSSES[configuration.loss])
            wrong = logits.argmax(dim=1) != y
            nearest.update(descent.x_adv, wrong, ties=False)
            gamma = annealed(step, steps, _GAMMA, _GAMMA_FINAL)
            if norm == "L0":
                eps = next_count(eps, wrong, nearest, gamma, least=0 if official else 1)
            else:
                eps = next_eps(eps, wrong, nearest, gamma, torch.inf)
            eps = torch.minimum(eps, most)
            descent.step(gradient, losses, eps)
        if not official:
            with torch.no_grad():
                nearest.update(descent.x_adv, model(descent.x_adv).argmax(dim=1) != y, ties=False)
        return nearest.result(model, y)


class _Descent:
    """The iterate `x_adv` [B, C, H, W], and what moves it."""

    def __init__(self, x: Tensor, norm: str, steps: int, configuration: Configuration, *, official: bool) -> None:
        self._x, self._norm = x, norm
        self._official = official
        self._delta = torch.zeros_like(x)
        self._optimizer = _optimizer(self._delta, configuration)
        self._schedule = _cosine_annealing(self._optimizer, steps, configuration)
        self._plateau = None if official else _plateau(x, configuration)
        self.x_adv = x

    @torch.no_grad()
    def step(self, gradient: Tensor, losses: Tensor, eps: Tensor) -> None:
        """Move along the sign of `gradient`, into the balls of radius `eps` [B] and into [0, 1]."""
        before = self._delta.clone()
        self._delta.grad = gradient.sign()
        self._optimizer.step()
        if self._plateau is not None:  # linear in the learning rate, so scaling the update gives each sample its own
            scale = self._plateau.scale.to(before.dtype).view(-1, *[1] * (before.dim() - 1))
            self._delta.copy_(before + scale * (self._delta - before))
            self._plateau.step(losses)
        self.x_adv = (self._x + self._projected(eps, gradient)).clamp(0.0, 1.0)
        self._delta.copy_(self.x_adv - self._x)
        if self._schedule is not None:
            self._schedule.step()

    def _projected(self, eps: Tensor, gradient: Tensor) -> Tensor:
        if self._official:
            return _official_projection(self._delta, eps, self._norm)
        # steps of one size make ties in L0 the rule; the gradient knows which of the entries matter
        return project(self._delta, eps, self._norm, weights=gradient.abs())


def _optimizer(delta: Tensor, chosen: Configuration) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
    if chosen.optimizer == "SGD":
        return torch.optim.SGD([delta], **common, momentum=chosen.momentum, dampening=chosen.dampening)
    kind = torch.optim.Adam if chosen.optimizer == "Adam" else torch.optim.Adamax
    return kind([delta], **common, betas=(chosen.beta1, chosen.beta2))


def _cosine_annealing(
    optimizer: torch.optim.Optimizer, steps: int, chosen: Configuration
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if chosen.scheduler != "CALR":
        return None
    least = chosen.lr / 100.0 if chosen.eta_min is None else chosen.eta_min
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=least)


def _plateau(x: Tensor, chosen: Configuration) -> Plateau | None:
    if chosen.scheduler != "RLROP":
        return None
    return Plateau(
        len(x),
        lr=chosen.lr,
        factor=chosen.factor,
        patience=chosen.patience,
        threshold=chosen.threshold,
        device=x.device,
    )


def _official_projection(delta: Tensor, eps: Tensor, norm: str) -> Tensor:
    """Project as the published code does; it differs for L0 and L2."""
    flat = delta.flatten(1)
    if norm == "L2":
        size = torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp_min(1e-12)
        return (flat * (eps[:, None] / size)).clamp_max(1.0).view_as(delta)
    if norm == "L0":
        magnitude = flat.abs()
        rank = (eps.long()[:, None] - 1).clamp_min(0)
        threshold = magnitude.sort(dim=1, descending=True).values.gather(1, rank)
        return (flat * (magnitude >= threshold)).view_as(delta)
    return project(delta, eps, norm)
