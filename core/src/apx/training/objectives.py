"""What a training phase minimises: natural, PGD, FGSM-RS, TRADES, MART, distillation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..attacks import BatchNormMode, frozen, full_precision, pgd, project, uniform_start
from ..randomness import keyed_normal, keyed_uniform
from .repeated_pass import pass_twice
from .settings import TrainSettings


@dataclass(frozen=True)
class Batch:
    """Images x, float [B, C, H, W] in [0, 1]; labels y, int64 [B]; positions in the split, int64 [B]; the keys."""

    x: Tensor
    y: Tensor
    indices: Tensor
    seed: int
    phase: str
    epoch: int

    def uniform(self, purpose: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """Draw uniform [0, 1) numbers per sample, keyed by (seed, phase, purpose, epoch, sample); [B, *shape]."""
        shape = tuple(self.x.shape[1:]) if shape is None else shape
        return keyed_uniform(self.seed, f"{self.phase}/{purpose}", self.indices, shape, epoch=self.epoch)

    def normal(self, purpose: str) -> Tensor:
        """Draw standard normal numbers shaped like `x`, keyed like `uniform`."""
        shape = tuple(self.x.shape[1:])
        return keyed_normal(self.seed, f"{self.phase}/{purpose}", self.indices, shape, epoch=self.epoch)


@dataclass(frozen=True)
class Threat:
    """The training attack with every default resolved: Linf radius, step size, number of steps."""

    eps: float
    alpha: float
    steps: int


class Objective(ABC):
    """One training objective; what it carries from step to step is its `state`, and is checkpointed.

    Args:
        settings: the phase's settings.
        threat: the attack with radius and step resolved.
        teacher: the distillation teacher where a phase has one.
    """

    name: ClassVar[str]
    attack_bn: ClassVar[BatchNormMode] = "eval"

    def __init__(self, settings: TrainSettings, threat: Threat, teacher: nn.Module | None = None) -> None:
        self.settings = settings
        self.threat = threat
        self.teacher = teacher
        self.mode: BatchNormMode = settings.attack_bn or type(self).attack_bn

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the scalar loss of a batch; the model is in train mode, attacks restore it."""

    def step(self, model: nn.Module, batch: Batch, update: Callable[[Tensor], None]) -> float:
        """Take the optimiser step(s) of one batch through `update(loss)` and return the mean loss.

        `update` runs the one backward pass of a scalar loss, the method's hooks and the optimiser, and computes the
        effective weights anew; leaf tensors in the loss (a perturbation) have their `grad` afterwards. Objectives that
        replay a batch or several parts of it (Free-AT, curricula) override this.
        """
        loss = self.loss(model, batch)
        update(loss)
        return float(loss.detach())

    def start(self, batch: Batch, chosen: str) -> Tensor:
        """Return an attack's start: `uniform` in the ball, `normal` (x + 0.001 N(0, 1), not clipped) or `none` (x).

        Raises:
            ValueError: `chosen` is none of these words.
        """
        if chosen == "uniform":
            return uniform_start(batch.x, self.threat.eps, batch.uniform("start"))
        if chosen == "normal":
            return batch.x + 0.001 * batch.normal("start")
        if chosen == "none":
            return batch.x
        raise ValueError(f"option start is '{chosen}'; choose one of uniform, normal, none")

    def log(self, model: nn.Module, batch: Batch) -> None:
        """Make the clean forward pass in train mode by which some official code logs accuracy (option `logging_pass`).

        It changes batch-norm statistics, no gradient.
        """
        if self.settings.options.get("logging_pass", False):
            with torch.no_grad():
                model(batch.x)

    def state(self) -> dict[str, Any]:
        """Return what the objective carries between steps (tensors and plain values)."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - optional
        """Restore `state()`."""


class Natural(Objective):
    """Cross-entropy on clean images."""

    name = "nat"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """CE(f(x), y)."""
        return functional.cross_entropy(full_precision(model(batch.x)), batch.y)


class PGD(Objective):
    """Cross-entropy on PGD examples alone (Madry et al., ICLR 2018); batch norm trains during the attack.

    Options: `start`, `uniform` in the ball (default), `normal` (x + 0.001 N(0, 1), as TRADES starts) or `none` (x);
    `logging_pass` (default False: one more clean forward pass at the start of each step).
    """

    name = "pgd"
    attack_bn = "train"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """CE(f(x_K), y)."""
        self.log(model, batch)
        start = self.start(batch, self.settings.options.get("start", "uniform"))
        x_adv = pgd(model, batch.x, batch.y, start=start, mode=self.mode, **vars(self.threat))
        return functional.cross_entropy(full_precision(model(x_adv)), batch.y)


class FastFGSM(Objective):
    """FGSM with a random start (Wong et al., ICLR 2020): one step of 1.25 eps, projected after the step.

    Option `start`: `uniform` in the ball (default), or `none`, plain FGSM: one step of eps from the clean image.
    """

    name = "fgsm-rs"
    attack_bn = "train"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """CE(f(x + d), y), d = clip(d0 + 1.25 eps sign grad), d0 uniform."""
        eps, chosen = self.threat.eps, self.settings.options.get("start", "uniform")
        longest = eps if chosen == "none" else 1.25 * eps
        alpha = longest if self.settings.alpha is None else self.settings.alpha
        start = self.start(batch, chosen)
        x_adv = pgd(model, batch.x, batch.y, eps=eps, alpha=alpha, steps=1, start=start, mode=self.mode)
        return functional.cross_entropy(full_precision(model(x_adv)), batch.y)


def kl_to(clean_logits: Tensor, logits: Tensor) -> Tensor:
    """Return sum_i KL(softmax(clean_i) || softmax(logits_i)), both float [B, classes]; differentiable in both."""
    target = functional.log_softmax(clean_logits, dim=1)
    return functional.kl_div(functional.log_softmax(logits, dim=1), target, reduction="sum", log_target=True)


class TRADES(Objective):
    """CE(f(x), y) + beta KL(f(x) || f(x')), x' from KL ascent (Zhang et al., ICML 2019); KL target not detached.

    Options, which change batch-norm statistics but no gradient: `second_clean_pass` (default True, as published: the
    KL's clean side is a forward pass of its own, see `pass_twice`; False reuses the first) and `logging_pass` (default
    False: one more clean pass at the start of each step, as in HYDRA's code).
    """

    name = "trades"

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """Ascend the KL from x + 0.001 N(0, 1), not clipped, as the official code does."""
        start = self.start(batch, "normal")
        if self.threat.steps == 0:
            return project(start, batch.x, self.threat.eps)
        with frozen(model, self.mode), torch.no_grad():
            clean = full_precision(model(batch.x))
        return pgd(
            model,
            batch.x,
            batch.y,
            start=start,
            loss=lambda logits: kl_to(clean, logits),
            mode=self.mode,
            **vars(self.threat),
        )

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the TRADES loss; clean, adversarial and clean forwards in train mode, as published."""
        self.log(model, batch)
        x_adv = self.attack(model, batch)
        first, second_pass = pass_twice(model, batch.x)
        clean, adversarial = full_precision(first), full_precision(model(x_adv))
        reference = full_precision(second_pass()) if self.settings.options.get("second_clean_pass", True) else clean
        robust = kl_to(reference, adversarial) / len(batch.y)
        return functional.cross_entropy(clean, batch.y) + self.settings.beta * robust


class MART(Objective):
    """Misclassification-aware training on PGD examples (Wang et al., ICLR 2020): `mart_loss` at beta.

    Options: `start`, `normal` (default, as published) or `uniform`; `logging_pass` as for TRADES.
    """

    name = "mart"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the MART loss; clean and adversarial forwards in train mode, clean first, as published."""
        self.log(model, batch)
        start = self.start(batch, self.settings.options.get("start", "normal"))
        x_adv = pgd(model, batch.x, batch.y, start=start, mode=self.mode, **vars(self.threat))
        return mart_loss(full_precision(model(batch.x)), full_precision(model(x_adv)), batch.y, self.settings.beta)


def mart_loss(clean: Tensor, adversarial: Tensor, y: Tensor, beta: float) -> Tensor:
    """Return BCE(f(x'), y) + beta mean_i KL(f(x_i) || f(x'_i)) (1 - f_y(x_i)), differentiable in both logits.

    BCE adds the margin to the likeliest wrong class to the cross-entropy. The small constants are the published
    code's, and keep both logarithms finite.

    Args:
        clean: logits of clean images, float32 [B, classes].
        adversarial: logits of adversarial images, float32 [B, classes].
        y: labels, int64 [B].
        beta: weight of the second term.
    """
    p, p_adv = functional.softmax(clean, dim=1), functional.softmax(adversarial, dim=1)
    wrong = p_adv.scatter(1, y[:, None], -1.0).argmax(dim=1, keepdim=True)
    margin = -torch.log(1.0001 - p_adv.gather(1, wrong) + 1e-12).mean()
    divergence = (p * (functional.log_softmax(clean, dim=1) - torch.log(p_adv + 1e-12))).sum(dim=1)
    unsure = 1.0000001 - p.gather(1, y[:, None])[:, 0]
    return functional.cross_entropy(adversarial, y) + margin + beta * (divergence * unsure).mean()


class Distillation(Objective):
    """(1 - a) CE + a T^2 KL to a teacher (Hinton et al., 2015; the combination is a reconstruction).

    Options: `temperature` 4, `weight` a = 0.9 (1: labels are not used), `adversarial` (default False: clean student
    input; True: the student sees PGD examples, the teacher the clean image).

    Raises:
        ValueError: the phase has no teacher.
    """

    name = "kd"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the distillation loss; the teacher runs in eval mode without a graph."""
        if self.teacher is None:
            raise ValueError("objective kd needs a teacher: pass one to run.train")
        options = self.settings.options
        temperature, weight = options.get("temperature", 4.0), options.get("weight", 0.9)
        x = batch.x
        if options.get("adversarial", False):
            start = uniform_start(x, self.threat.eps, batch.uniform("start"))
            x = pgd(model, x, batch.y, start=start, mode=self.mode, **vars(self.threat))
        self.teacher.eval()
        with torch.no_grad():
            target = full_precision(self.teacher(batch.x))
        logits = full_precision(model(x))
        soft = kl_to(target / temperature, logits / temperature) / len(batch.y)
        if weight == 1:
            return temperature**2 * soft  # labels are not looked at
        hard = functional.cross_entropy(logits, batch.y)
        return (1 - weight) * hard + weight * temperature**2 * soft


BUILTIN: dict[str, type[Objective]] = {
    objective.name: objective for objective in (Natural, PGD, FastFGSM, TRADES, MART, Distillation)
}
