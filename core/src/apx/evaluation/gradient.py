"""FGSM, PGD and CW: gradient attacks with a fixed step, for a quick look; AutoAttack is the verdict."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..attacks import pgd, random_start
from ..randomness import keyed_normal, keyed_uniform
from .attack import Attack, Crafted, Setting
from .margins import logit_margin
from .progress import Work
from .samples import Batch


class Clean(Attack):
    """No attack: the accuracy on the images as they are."""

    @property
    def name(self) -> str:
        """`clean`."""
        return "clean"

    def work(self, classes: int) -> Work:
        """One pass, which has been made."""
        return Work(1, 1)

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Return the images as they are."""
        return Crafted(batch.x)


class FGSM(Attack):
    """One gradient step of the full radius without a random start (Goodfellow et al., ICLR 2015)."""

    norms = ("Linf", "L2")

    @property
    def name(self) -> str:
        """`fgsm`."""
        return "fgsm"

    def work(self, classes: int) -> Work:
        """One gradient, one prediction."""
        return Work(passes=2, weight=3)

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Step once."""
        norm, eps = setting.threat.norm, setting.threat.eps
        return Crafted(pgd(setting.network, batch.x, batch.y, eps=eps, alpha=eps, steps=1, norm=norm))


class PGD(Attack):
    """Projected gradient descent from a random start (Madry et al., ICLR 2018), restarted where it found nothing.

    Each start is drawn from (seed, sample, restart): neither batch size nor the other samples change it. `loss` is
    what is ascended: cross-entropy, or the margin of Carlini & Wagner, max_{j != y} z_j - z_y.
    """

    norms = ("Linf", "L2")

    steps: int = Field(20, ge=1)
    alpha: float | None = Field(None, gt=0, description="step size; eps / 4 where None")
    restarts: int = Field(1, ge=1)
    loss: Literal["ce", "margin"] = "ce"

    @property
    def name(self) -> str:
        """`pgd-20`, or `pgd-20x5` with restarts; `cw` in place of `pgd` for the margin loss."""
        times = f"x{self.restarts}" if self.restarts > 1 else ""
        return f"{'pgd' if self.loss == 'ce' else 'cw'}-{self.steps}{times}"

    def work(self, classes: int) -> Work:
        """`steps` gradients and a prediction for each start."""
        return Work(passes=(self.steps + 1) * self.restarts, weight=3)

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Attack from each start those images that no earlier one has broken."""
        norm, eps = setting.threat.norm, setting.threat.eps
        alpha = eps / 4 if self.alpha is None else self.alpha
        x_adv, left = batch.x, torch.arange(len(batch.y), device=batch.x.device)
        for restart in range(self.restarts):
            x, y, indices = batch.x[left], batch.y[left], batch.indices[left]
            start = self._start(setting, x, indices, restart)
            loss = None if self.loss == "ce" else _margin_against(y)
            found = pgd(
                setting.network, x, y, eps=eps, alpha=alpha, steps=self.steps, start=start, loss=loss, norm=norm
            )
            x_adv = x_adv.index_copy(0, left, found)
            if restart + 1 < self.restarts:
                with torch.no_grad():
                    left = left[setting.network(found).argmax(dim=1) == y]
                if not len(left):
                    break
        return Crafted(x_adv)

    def _start(self, setting: Setting, x: Tensor, indices: Tensor, restart: int) -> Tensor:
        purpose = "evaluation-pgd" + (f"/{restart}" if restart else "")
        draw = keyed_uniform if setting.threat.norm == "Linf" else keyed_normal
        return random_start(
            x, setting.threat.eps, draw(setting.seed, purpose, indices, x.shape[1:]), setting.threat.norm
        )

    def record(self, setting: Setting) -> dict[str, Any]:
        """Return the parameters, the step size resolved."""
        alpha = setting.threat.eps / 4 if self.alpha is None else self.alpha
        return {**super().record(setting), "alpha": alpha, "random_start": True}


class CW(PGD):
    """PGD on the margin loss, the CW-inf attack of the literature (Carlini & Wagner, S&P 2017, their f_6)."""

    loss: Literal["ce", "margin"] = "margin"


def _margin_against(y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: -logit_margin(logits, y).sum()
