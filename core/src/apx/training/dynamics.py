"""The hooks through which a method acts while the one trainer runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..masked_model import MaskedModel
    from .objectives import Batch


@dataclass(frozen=True)
class Position:
    """Where training stands: 0-based epoch, step within it, steps per epoch, step since the phase began.

    A step is a batch; an objective that updates several times on one batch repeats the position.
    """

    epoch: int
    step: int
    steps_per_epoch: int

    @property
    def global_step(self) -> int:
        """Steps taken in this phase before this one."""
        return self.epoch * self.steps_per_epoch + self.step


class Dynamics:
    """Hooks of a training phase, called in the order of the methods below; each does nothing here.

    A method overrides what it needs. What an instance carries between calls belongs into `state`, since a killed run
    resumes from it.
    """

    def phase_start(self, model: "MaskedModel", optimizer: torch.optim.Optimizer) -> None:
        """Called once before the first step, also when a phase resumes (then after `load_state`)."""

    def epoch_start(self, model: "MaskedModel", epoch: int) -> None:
        """Called before the first batch of an epoch (0-based); not again when an epoch resumes half-way."""

    def batch_start(self, model: "MaskedModel", batch: "Batch", at: Position) -> None:
        """Called before the attack and the forward passes of a batch."""

    def loss_terms(self, model: "MaskedModel", batch: "Batch", at: Position) -> Tensor | None:
        """Return a scalar added to the loss (regulariser, ADMM penalty), or None."""
        return None

    def after_backward(self, model: "MaskedModel", batch: "Batch", at: Position) -> None:
        """Called with all gradients present; `model.dense_gradient` also covers pruned entries."""

    def after_step(self, model: "MaskedModel", optimizer: torch.optim.Optimizer, at: Position) -> None:
        """Called after each optimiser step; masks may move here, and hidden weights in place under `no_grad`."""

    def may_hand_over(self, model: "MaskedModel", epoch: int) -> bool:
        """Tell whether the state after this epoch may be handed over where `handover` is `best`; asked if it is."""
        return True

    def epoch_end(self, model: "MaskedModel", epoch: int) -> bool:
        """Called after the last batch of an epoch; return True to end the phase early."""
        return False

    def state(self) -> dict[str, Any]:
        """Return what is carried between calls (tensors and plain values)."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore `state()`."""
