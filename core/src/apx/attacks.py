"""Gradient attacks in the Linf and L2 balls, for training and a quick look; AutoAttack lives in `apx.evaluation`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

BatchNormMode = Literal["eval", "train"]

_TINY = 1e-12


def project(x_adv: Tensor, x: Tensor, eps: float, norm: str = "Linf") -> Tensor:
    """Project `x_adv` to the Linf (or L2) ball of radius `eps` round `x`, then to the image box [0, 1]."""
    if norm == "L2":
        delta = (x_adv - x).flatten(1)
        size = torch.linalg.vector_norm(delta, dim=1, keepdim=True).clamp_min(_TINY)
        return torch.clamp(x + (delta * (eps / size).clamp_max(1.0)).view_as(x), 0.0, 1.0)
    return torch.clamp(torch.minimum(torch.maximum(x_adv, x - eps), x + eps), 0.0, 1.0)


@contextmanager
def frozen(model: nn.Module, mode: BatchNormMode = "eval") -> Iterator[nn.Module]:
    """Craft attacks inside: parameters need no gradient, batch norm runs in `mode`; both are restored on exit.

    In `train` mode the running statistics do move, as they do in the official code of the objectives that use it.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [p for p in model.parameters() if p.requires_grad]
    detached = getattr(model, "detached", None)
    try:
        model.train(mode == "train")
        for parameter in parameters:
            parameter.requires_grad_(False)
        if detached is None:
            yield model
        else:  # a MaskedModel hands out its effective weights detached
            with detached():
                yield model
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training


def uniform_start(x: Tensor, eps: float, noise: Tensor) -> Tensor:
    """Return the start of PGD: `x` moved by `noise` (uniform [0, 1), shape of x) scaled to [-eps, eps], clipped."""
    return torch.clamp(x + eps * (2.0 * noise - 1.0), 0.0, 1.0)


def random_start(x: Tensor, eps: float, noise: Tensor, norm: str) -> Tensor:
    """Return a random point of the ball, clipped to [0, 1]: a start for PGD.

    Args:
        x: images [B, C, H, W].
        eps: radius.
        noise: of the shape of x; for Linf uniform in [0, 1), for L2 standard normal, whose direction is taken, on the
            sphere, where nearly all of the ball's volume lies.
        norm: Linf or L2.
    """
    if norm == "Linf":
        return uniform_start(x, eps, noise)
    return torch.clamp(x + eps * _ascent(noise, norm), 0.0, 1.0)


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    start: Tensor | None = None,
    loss: Callable[[Tensor], Tensor] | None = None,
    mode: BatchNormMode = "eval",
    norm: str = "Linf",
) -> Tensor:
    """Projected gradient descent in the Linf or L2 ball (Madry et al., ICLR 2018).

    Args:
        model: maps images to logits; its parameters get no gradient and its mode is restored.
        x: images, float [B, C, H, W] in [0, 1].
        y: labels, int64 [B].
        eps: radius in pixel units of [0, 1].
        alpha: step size.
        steps: number of steps along the gradient's sign (L2: its direction); 0 returns the projected start.
        start: first iterate; `x` itself where None. It is used as it is (TRADES starts unclipped).
        loss: what is ascended, logits [B, classes] -> scalar; summed cross-entropy against `y` where None.
        mode: batch-norm mode while the attack is crafted.
        norm: Linf or L2.

    Returns:
        x_adv, detached, shape of `x`, within `eps` of `x` and in [0, 1].
    """
    objective = loss or (lambda logits: functional.cross_entropy(logits, y, reduction="sum"))
    x_adv = (x if start is None else start).detach()
    with frozen(model, mode):
        for _ in range(steps):
            x_adv.requires_grad_(True)
            with torch.enable_grad():
                value = objective(full_precision(model(x_adv)))
            (gradient,) = torch.autograd.grad(value, x_adv)
            x_adv = project(x_adv.detach() + alpha * _ascent(gradient, norm), x, eps, norm)
    return project(x_adv, x, eps, norm)


def full_precision(logits: Tensor) -> Tensor:
    """Return logits in float32 at least, in which losses are computed; float64 stays what it is."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _ascent(gradient: Tensor, norm: str) -> Tensor:
    """Return the direction of steepest ascent of length 1 in the norm."""
    if norm == "Linf":
        return gradient.sign()
    size = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp_min(_TINY)
    return gradient / size.view(-1, *[1] * (gradient.dim() - 1))


def clean(model: nn.Module, x: Tensor, y: Tensor, *, eps: float) -> Tensor:
    """Return `x` as it is: the attack that does nothing, float [B, C, H, W]."""
    return x


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, mode: BatchNormMode = "eval") -> Tensor:
    """One full-length gradient step without a random start (Goodfellow et al., ICLR 2015); see `pgd`."""
    return pgd(model, x, y, eps=eps, alpha=eps, steps=1, mode=mode)
