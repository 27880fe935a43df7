"""What PwoA minimises: distillation, with or without the HSIC bottleneck, on clean or now and then attacked images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from apx import Batch, MaskedModel, TrainSettings
from apx.attacks import pgd
from apx.randomness import keyed_uniform
from apx.training.objectives import Distillation, Threat

from .hsic import bottleneck
from .taps import default_taps, tapped


class BottleneckDistillation(Distillation):
    """L_D + lambda_x sum_j HSIC(x, z_j) - lambda_y sum_j HSIC(y, z_j), features z_j of the student (PwoA).

    L_D is the objective `kd`, of which the options are; further ones: `lambda_x`, `lambda_y` (default 0: nothing is
    computed unless both are positive), `sigma` (5), `taps` (None: `default_taps`) and `mix` (0): the probability with
    which a batch is replaced by its PGD examples, for teacher, student and HSIC alike.
    """

    name = "kd-hsic"

    def __init__(self, settings: TrainSettings, threat: Threat, teacher: nn.Module | None = None) -> None:
        super().__init__(settings, threat, teacher)
        self.batches = 0  # so far, the key of each batch's draw

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of one batch; one forward pass of the student, and the attack's where the batch is mixed."""
        options = self.settings.options
        batch = self.mixed(model, batch)
        lambda_x, lambda_y = options.get("lambda_x", 0.0), options.get("lambda_y", 0.0)
        if not (lambda_x > 0 and lambda_y > 0):
            return super().loss(model, batch)
        network = model.module if isinstance(model, MaskedModel) else model
        with tapped(network, options.get("taps") or default_taps(network)) as features:
            distillation = super().loss(model, batch)
        sigma = options.get("sigma", 5.0)
        return distillation + bottleneck(
            batch.x, batch.y, features.values(), lambda_x=lambda_x, lambda_y=lambda_y, sigma=sigma
        )

    def mixed(self, model: nn.Module, batch: Batch) -> Batch:
        """Return the batch, with probability `mix` as its PGD examples, crafted from a uniform start."""
        mix = self.settings.options.get("mix", 0.0)
        self.batches += 1
        key = torch.tensor([self.batches])
        if not mix or keyed_uniform(batch.seed, f"{batch.phase}/mix", key, ()).item() >= mix:
            return batch
        start = self.start(batch, "uniform")
        return replace(batch, x=pgd(model, batch.x, batch.y, start=start, mode=self.mode, **vars(self.threat)))

    def state(self) -> dict[str, Any]:
        """Return how many batches there were."""
        return {"batches": self.batches}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the count."""
        self.batches = state["batches"]
