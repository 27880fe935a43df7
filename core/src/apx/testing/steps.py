"""The real trainer's steps on given batches, for a trajectory next to another implementation's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..datasets import Dataset
from ..masked_model import MaskedModel
from ..training.dynamics import Dynamics
from ..training.objectives import Batch, Objective
from ..training.optimisation import Parameters
from ..training.settings import TrainSettings
from ..training.trainer import Environment, Hooks, Trainer
from .tiny import CLASSES, tiny_split

Loss = Callable[[nn.Module], Tensor]
Steps = list[tuple[float, dict[str, Tensor]]]
GivenSteps = Callable[..., Steps]
"""What the fixture `given_steps` is: `take_steps`."""


class Given(Objective):
    """The loss of given batches, one per step: no attack and no data order of its own."""

    name = "given"

    def __init__(self, settings: TrainSettings, environment: Environment, losses: Sequence[Loss]) -> None:
        super().__init__(settings, environment.threat(settings))
        self._losses = iter(losses)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the next batch's loss."""
        return next(self._losses)(model)


def take_steps(
    model: MaskedModel,
    x: Tensor,
    y: Tensor,
    settings: Mapping[str, Any],
    *,
    dynamics: Dynamics | None = None,
    parameters: Parameters | None = None,
    losses: Sequence[Loss] | None = None,
) -> Steps:
    """Train `model` in place with x [steps, B, ...] and y [steps, B], one optimiser step per batch.

    Args:
        model: what is trained.
        x: the images of each step, adversarial ones where the method would make them.
        y: their labels.
        settings: overrides of `TrainSettings`: optimiser, rates, decay.
        dynamics: the method's hooks.
        parameters: what is trained, all where None.
        losses: functions of the model, one per step, in place of the cross-entropy.

    Returns:
        For each step (loss, state after it): `module.<name>` folded tensors, `own.<name>` reparametrisations' ones.
    """

    def cross_entropy(number: int) -> Loss:
        return lambda model: functional.cross_entropy(model(x[number]).float(), y[number])

    steps = len(x)
    seen: Steps = []

    def keep(model: MaskedModel, epoch: int, number: int, steps: int, loss: float) -> None:
        state = {f"module.{name}": tensor for name, tensor in model.folded_state().items()}
        state |= {f"own.{name}": tensor for name, tensor in model.reparametrisations.state_dict().items()}
        seen.append((loss, {name: tensor.clone() for name, tensor in state.items()}))

    chosen = TrainSettings(epochs=1, batch_size=8, augment=False).model_copy(update=dict(settings))
    splits = (tiny_split(8 * steps, 1), tiny_split(6, 2), tiny_split(6, 3))
    environment = Environment(Dataset("given", *splits, num_classes=CLASSES, threat_eps=0.1), 0, torch.device("cpu"))
    Trainer(
        model=model,
        settings=chosen,
        environment=environment,
        phase="given",
        objective=Given(chosen, environment, losses or [cross_entropy(number) for number in range(steps)]),
        parameters=parameters,
        dynamics=dynamics or Dynamics(),
        hooks=Hooks(step=keep),
    ).fit()
    return seen
