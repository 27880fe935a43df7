"""Learning rates that fall per sample where its loss has stopped improving (RLROP of HO-FMN, arXiv 2407.08806)."""

import math

import torch
from torch import Tensor

_SMALLEST_CHANGE = 1e-8


class Plateau:
    """One learning rate per sample; each is multiplied by `factor` after more than `patience` steps without progress.

    The published code weights the losses by these rates, and the sign of the gradient then removes the weights, so
    that the rates have no effect. Here they scale what the optimiser does to each sample, which for the optimisers of
    the search is the same as a learning rate of its own. Progress is relative to the size of the best loss; the
    published formula takes a worse loss for progress where losses are negative.

    Attributes:
        rates: float32 [B].
    """

    def __init__(
        self, samples: int, *, lr: float, factor: float, patience: int, threshold: float, device: torch.device
    ) -> None:
        self._lr, self._factor, self._patience, self._threshold = lr, factor, patience, threshold
        self.rates = torch.full((samples,), lr, device=device)
        self._best = torch.full((samples,), math.inf, device=device)
        self._waited = torch.zeros(samples, device=device)

    @property
    def scale(self) -> Tensor:
        """The rates relative to the first one, [B]."""
        return self.rates / self._lr

    def step(self, losses: Tensor) -> None:
        """Note the losses [B] of an iterate, to be minimised, and lower the rates that are due."""
        margin = torch.where(self._best.isinf(), 0.0, self._threshold * self._best.abs())
        better = losses < self._best - margin
        self._best = torch.where(better, losses, self._best)
        self._waited = torch.where(better, 0.0, self._waited + 1)
        due = self._waited > self._patience
        self._waited = torch.where(due, 0.0, self._waited)
        lowered = self.rates * self._factor
        self.rates = torch.where(due & (self.rates - lowered > _SMALLEST_CHANGE), lowered, self.rates)
