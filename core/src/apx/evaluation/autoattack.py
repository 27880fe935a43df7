"""AutoAttack (Croce & Hein, ICML 2020) through `pyautoattack`, one of its attacks and one batch at a time.

The package's own loop does not tell which attack broke a sample, and its resume is broken. Here every batch gets a
fresh `AutoAttack` object, the seed, and samples that are still robust; what counts is our prediction on the images
that come back. With the same seed and batch size these are those of the package's `run_standard_evaluation`, which
seeds each call alike.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..errors import UserError
from .attack import Attack, Crafted, Setting
from .progress import Work
from .samples import Batch
from .threat import Threat

_LOGITS = 4
"""The targeted DLR loss divides by the third and fourth largest logit."""


class Part(Attack):
    """One attack of AutoAttack, on its own."""

    norms = ("Linf", "L2")
    label: ClassVar[str]

    @property
    def name(self) -> str:
        """The package's name of the attack."""
        return self.label

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Attack one batch; the clean image comes back where nothing was found."""
        from pyautoattack import AutoAttack

        threat = setting.threat
        suite = AutoAttack(
            setting.network,
            version="custom",
            attacks=[self.label],
            norm=threat.norm,
            eps=threat.eps,
            seed=setting.seed,
            device=batch.x.device,
        )
        with torch.no_grad(), _heard() as heard:  # the attacks enable gradients where they take them
            x_adv: Tensor = self.chosen(suite, setting).perturb(batch.x.clone(), batch.y.clone())
        return Crafted(x_adv.detach(), heard=tuple(heard))

    @abstractmethod
    def chosen(self, suite: Any, setting: Setting) -> Any:
        """Return the attack's object out of the package's `AutoAttack`, set up."""


class APGDCE(Part):
    """Auto-PGD on cross-entropy."""

    label = "apgd-ce"

    steps: int = Field(100, ge=10)
    restarts: int = Field(1, ge=1)

    def work(self, classes: int) -> Work:
        """Each restart meets only what is still robust; the most is all of them."""
        return Work(passes=self.restarts * (self.steps + 1) + 2, weight=3)

    def chosen(self, suite: Any, setting: Setting) -> Any:
        """APGD with the loss CE."""
        return _apgd(suite, "ce", self.steps, self.restarts)


class APGDDLR(APGDCE):
    """Auto-PGD on the difference-of-logits ratio."""

    label = "apgd-dlr"

    def check(self, threat: Threat, classes: int) -> None:
        """Refuse a model with fewer than 3 classes.

        Raises:
            UserError: the loss ranks three logits.
        """
        super().check(threat, classes)
        if classes < 3:
            raise UserError(f"apgd-dlr ranks three logits, the model has {classes}: use apgd-ce")

    def chosen(self, suite: Any, setting: Setting) -> Any:
        """APGD with the loss DLR."""
        return _apgd(suite, "dlr", self.steps, self.restarts)


class APGDT(Part):
    """Targeted Auto-PGD: the targeted DLR towards the likeliest other classes, one after another."""

    label = "apgd-t"

    steps: int = Field(100, ge=10)
    targets: int = Field(9, ge=1, description="classes aimed at; fewer where the model has fewer")

    def work(self, classes: int) -> Work:
        """A run for each target."""
        return Work(passes=_targets(self.targets, classes) * (self.steps + 2) + 2, weight=3)

    def check(self, threat: Threat, classes: int) -> None:
        """Refuse a model with fewer than 4 classes.

        Raises:
            UserError: the loss ranks four logits.
        """
        super().check(threat, classes)
        if classes < _LOGITS:
            raise UserError(
                "AutoAttack needs at least 4 classes (its targeted DLR loss ranks four logits), "
                f"the model has {classes}: use attack pgd"
            )

    def chosen(self, suite: Any, setting: Setting) -> Any:
        """The targeted APGD."""
        attack = suite.apgd_targeted
        _set_steps(attack, self.steps)
        attack.n_target_classes = _targets(self.targets, setting.classes)
        return attack

    def record(self, setting: Setting) -> dict[str, Any]:
        """Return the parameters, the targets as many as there are."""
        return {**super().record(setting), "targets": _targets(self.targets, setting.classes)}


class FAB(Part):
    """Fast adaptive boundary attack (Croce & Hein, ICML 2020)."""

    label = "fab"

    steps: int = Field(100, ge=1)
    restarts: int = Field(1, ge=1)

    def work(self, classes: int) -> Work:
        """Every step goes through the network twice, with a gradient for each class; the most is all restarts."""
        return Work(passes=self.restarts * (self.steps * (classes + 1) + 3) + 2, weight=2)

    def chosen(self, suite: Any, setting: Setting) -> Any:
        """FAB, untargeted."""
        attack = suite.fab
        attack.targeted, attack.n_restarts, attack.n_iter = False, self.restarts, self.steps
        return attack


class FABT(Part):
    """FAB aimed at the likeliest other classes, one after another."""

    label = "fab-t"

    steps: int = Field(100, ge=1)
    targets: int = Field(9, ge=1, description="classes aimed at; fewer where the model has fewer")

    def work(self, classes: int) -> Work:
        """Two passes for each step and target, one of them with a gradient."""
        return Work(passes=_targets(self.targets, classes) * (2 * self.steps + 3) + 2, weight=2)

    def chosen(self, suite: Any, setting: Setting) -> Any:
        """FAB, targeted, one restart."""
        attack = suite.fab
        attack.targeted, attack.n_restarts, attack.n_iter = True, 1, self.steps
        attack.n_target_classes = _targets(self.targets, setting.classes)
        return attack

    def record(self, setting: Setting) -> dict[str, Any]:
        """Return the parameters, the targets as many as there are."""
        return {**super().record(setting), "targets": _targets(self.targets, setting.classes)}


class Square(Part):
    """The black-box Square attack (Andriushchenko et al., ECCV 2020)."""

    label = "square"

    queries: int = Field(5000, ge=1)
    p_init: float = Field(0.8, gt=0, le=1)

    def work(self, classes: int) -> Work:
        """A pass for each query."""
        return Work(passes=self.queries + 2, weight=1)

    def chosen(self, suite: Any, setting: Setting) -> Any:
        """Square."""
        attack = suite.square
        attack.n_queries, attack.p_init = self.queries, self.p_init
        return attack


STANDARD: tuple[Part, ...] = (APGDCE(), APGDT(), FABT(), Square())
"""AutoAttack's standard version, in its order."""

PLUS: tuple[Part, ...] = (APGDCE(restarts=5), APGDDLR(restarts=5), FAB(restarts=5), Square(), APGDT(), FABT())
"""AutoAttack's version `plus`, the list of "Samples on thin ice" (Piras et al., ICMLC 2023), in its order."""


def _apgd(suite: Any, loss: str, steps: int, restarts: int) -> Any:
    attack = suite.apgd
    attack.loss, attack.n_restarts = loss, restarts
    _set_steps(attack, steps)
    return attack


def _set_steps(attack: Any, steps: int) -> None:
    """Set the iterations of an APGD and the checkpoints derived from them, as its constructor does."""
    attack.n_iter = attack.n_iter_orig = steps
    attack.n_iter_2, attack.n_iter_min = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
    attack.size_decr = max(int(0.03 * steps), 1)


def _targets(wanted: int, classes: int) -> int:
    return min(wanted, classes - 1)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Catch what the package warns of (zero gradients), as the name of a warning, in place of lines on the terminal."""
    logger = logging.getLogger("auto-attack")
    heard: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "zero gradient" in record.getMessage() and not heard:
                heard.append("zero-gradient")

    collector, propagate = Collector(logging.WARNING), logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
