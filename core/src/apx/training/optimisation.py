"""Optimisers and learning-rate schedules as functions of the position in a phase, so that resuming is exact."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from .settings import TrainSettings


def build_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return a fresh optimiser over `parameters`; weight decay applies to all of them alike."""
    chosen = list(parameters)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            chosen,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(chosen, lr=settings.lr, weight_decay=settings.weight_decay)


def learning_rate(settings: TrainSettings, epoch: int, fraction: float = 0.0) -> float:
    """Return the rate at `epoch` (0-based) plus `fraction` of it.

    `cosine` anneals from lr to 0 per epoch; `hydra-cosine` is HYDRA's lr/2 (1 + cos(pi (e - 1) / E)), which starts
    just below lr and never reaches 0; `step` decays at milestones (fractions of the phase, the epoch reached counts);
    `cyclic` rises from 0 to lr at `cyclic_peak` and falls back linearly, within epochs (Wong et al., ICLR 2020).
    """
    total = max(settings.epochs, 1)
    if settings.lr_schedule == "constant":
        return settings.lr
    if settings.lr_schedule == "cosine":
        return settings.lr / 2 * (1 + math.cos(math.pi * epoch / total))
    if settings.lr_schedule == "hydra-cosine":
        return settings.lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / total))
    if settings.lr_schedule == "step":
        passed = sum(epoch + settings.first_epoch >= round(milestone * total, 9) for milestone in settings.milestones)
        return settings.lr * settings.lr_decay**passed
    position = (epoch + fraction) / total
    peak = settings.cyclic_peak
    return settings.lr * (position / peak if position < peak else max(0.0, (1 - position) / (1 - peak)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
