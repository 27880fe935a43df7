"""What plugins' tests share beside apx's own fixtures: golden network, given noise, snapshots."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from apx import Batch, MaskedModel, Masks, Observer


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def four_layers(
    inputs: int = 3, hidden: tuple[int, int, int] = (5, 7, 6), classes: int = 4, *, bias: bool = False, pool: int = 2
) -> nn.Sequential:
    """Return the golden files' network: convolutions 3x3, 1x1, 3x3 with batch norm and a linear layer, on 8x8 images.

    Layers sit at 0, 3, 6 and 11; `bias` is the first convolution's.
    """
    first, second, third = hidden
    return nn.Sequential(
        nn.Conv2d(inputs, first, 3, padding=1, bias=bias),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 1, bias=False),
        nn.BatchNorm2d(second),
        nn.ReLU(),
        nn.Conv2d(second, third, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(third),
        nn.ReLU(),
        nn.AvgPool2d(pool),
        nn.Flatten(),
        nn.Linear(third * (4 // pool) ** 2, classes),
    )


@dataclass(frozen=True)
class Noisy(Batch):
    """A batch whose attack starts from given noise."""

    noise: Tensor

    def normal(self, purpose: str) -> Tensor:
        """Return the given noise."""
        return self.noise


def noisy(tensors: dict[str, Tensor], step: int | None = None) -> Noisy:
    """Return the golden file's batch: its x, y and noise, or those of one step."""
    x, y, noise = (tensors[name] if step is None else tensors[name][step] for name in ("x", "y", "noise"))
    return Noisy(x, y, torch.arange(len(y)), 0, "given", 0, noise)


class Snapshots(Observer):
    """Keeps the model's state and masks at the start and the end of each phase."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.masks: dict[str, Masks] = {}

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        """Keep them under `PHASE:start`."""
        self._keep(f"{phase}:start", model)

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        """Keep them under `PHASE:end`."""
        self._keep(f"{phase}:end", model)

    def _keep(self, moment: str, model: MaskedModel) -> None:
        self.states[moment] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.masks[moment] = model.current_masks()
