"""What an attack is to the evaluation: parameters, which samples it meets, what it makes of a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..errors import UserError
from .network import Logits
from .norms import ORDERS
from .outcome import Outcome
from .progress import Work
from .samples import Batch, Samples
from .threat import Threat


@dataclass(frozen=True)
class Setting:
    """What every attack of one evaluation is given: the network to attack, the threat, the key of random numbers."""

    network: Logits
    threat: Threat
    seed: int
    classes: int


@dataclass(frozen=True)
class Crafted:
    """What an attack made of a batch.

    `x_adv` [B, C, H, W] are images, the clean ones where nothing was found. `distances` [B] are the norms of what a
    minimum-norm attack found, infinite where nothing was, None of another attack. `heard` are names of warnings.
    """

    x_adv: Tensor
    distances: Tensor | None = None
    heard: tuple[str, ...] = ()


@dataclass
class Rehearsal:
    """What an attack may be tuned on: samples that are not evaluated, and the trials already made before a kill.

    `keep` is told each further trial. `samples` is None where there are none.
    """

    samples: Samples | None
    device: torch.device
    trials: list[dict[str, Any]] = field(default_factory=list)
    keep: Callable[[dict[str, Any]], None] = lambda trial: None

    def batch(self, size: int) -> Batch:
        """Return the first `size` samples, all where there are fewer.

        Raises:
            UserError: there are no samples.
        """
        if self.samples is None or not len(self.samples):
            raise UserError(
                "an attack is to be tuned, but every sample is evaluated: evaluate on fewer (n), or give a split "
                "to tune on (tuning)"
            )
        return next(self.samples.batches(torch.arange(min(size, len(self.samples))), size, self.device))


class Attack(BaseModel, ABC):
    """One attack with its parameters; every field is a parameter that a user may set and that the document records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    norms: ClassVar[tuple[str, ...]] = tuple(ORDERS)
    bounded: ClassVar[bool] = True
    """Whether its images must lie in the threat's ball to count; others need only lie in [0, 1]."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the document says broke a sample."""

    @abstractmethod
    def work(self, classes: int) -> Work:
        """Return the most that an image costs."""

    @abstractmethod
    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Attack one batch; the network is in eval mode, its parameters take no gradient."""

    def meets(self, outcome: Outcome) -> Tensor:
        """Return which samples are attacked, bool [n]: by default those that nothing has broken yet."""
        return outcome.robust

    def ready(self, setting: Setting, rehearsal: "Rehearsal") -> "Attack":
        """Return the attack as it will run; what must be tuned first is tuned here, on the rehearsal's samples."""
        return self

    def rehearsal(self) -> Work:
        """Return what `ready` costs in all."""
        return Work(0, 0)

    def check(self, threat: Threat, classes: int) -> None:
        """Refuse a threat or a model that the attack is not made for.

        Raises:
            UserError: the norm is none of the attack's.
        """
        if threat.norm not in self.norms:
            raise UserError(f"the attack {self.name} is not made for norm {threat.norm}: use {' or '.join(self.norms)}")

    def provider(self) -> dict[str, str]:
        """Return distribution -> version of the plugin that offers the attack; nothing for core's own."""
        return {}

    def record(self, setting: Setting) -> dict[str, Any]:
        """Return every parameter that determines the result, for the document."""
        return {"eps": setting.threat.eps, **self.model_dump()}
