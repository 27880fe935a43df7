"""Adversarial training that begins with an easier attack."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from apx import Batch
from apx.attacks import fgsm
from apx.training.objectives import PGD


class WarmedUpPGD(PGD):
    """PGD training whose first epochs attack with one step of alpha from the clean image (code of the later fork).

    Option `warmup`: the share of the phase's epochs that are so trained (default 0.2); all else is the objective pgd.
    """

    name: ClassVar[str] = "fgsm-pgd"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """CE(f(x + alpha sign grad), y) at first, CE(f(x_K), y) afterwards."""
        warmup = self.settings.options.get("warmup", 0.2)
        if batch.epoch >= round(warmup * self.settings.epochs, 9):
            return super().loss(model, batch)
        self.log(model, batch)
        x_adv = fgsm(model, batch.x, batch.y, eps=self.threat.alpha, mode=self.mode)
        return functional.cross_entropy(model(x_adv).float(), batch.y)
