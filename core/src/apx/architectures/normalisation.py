"""Input normalisation inside the model, invisible to `state_dict()`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from apx.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

_MEAN, _STD = "normalisation_mean", "normalisation_std"


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation of images in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise UserError(
                f"normalisation needs one mean and one positive std per channel, got {self.mean} and {self.std}"
            )


def normalise_inputs(model: nn.Module, normalisation: Normalisation, in_channels: int) -> None:
    """Make `model` compute (x - mean) / std before its own forward pass, in place.

    The statistics are non-persistent buffers read by a forward pre-hook. So parameter names and `state_dict()` stay
    canonical, a strict load of a plain state dict works, and copies, `.to(device)` and `torch.func.functional_call`
    keep the normalisation. A bare state dict does not carry it: whoever stores one stores `normalisation_of(model)`
    beside it. (Folding it into the first convolution would not be exact: zero padding.)
    """
    import torch

    if len(normalisation.mean) != in_channels:
        raise UserError(f"normalisation has {len(normalisation.mean)} channels, the images have {in_channels}")
    if hasattr(model, _MEAN):
        raise UserError("this network normalises its inputs already")
    for name, values in ((_MEAN, normalisation.mean), (_STD, normalisation.std)):
        model.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
    model.register_forward_pre_hook(_normalise)


def normalisation_of(model: nn.Module) -> Normalisation | None:
    """Return the statistics that `normalise_inputs` gave `model`, None where it has none."""
    if not hasattr(model, _MEAN):
        return None
    mean, std = (tuple(model.get_buffer(name).flatten().tolist()) for name in (_MEAN, _STD))
    return Normalisation(mean, std)


def is_constant(buffer: str) -> bool:
    """Say whether a buffer of this name holds statistics that `normalise_inputs` gave a network."""
    return buffer.rpartition(".")[2] in (_MEAN, _STD)


def looked_into(modules: Iterable[nn.Module]) -> bool:
    """Say whether hooks other than that of `normalise_inputs` see what passes through one of the modules."""
    return any(
        module._forward_hooks or any(hook is not _normalise for hook in module._forward_pre_hooks.values())
        for module in modules
    )


def _normalise(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # looked up by name at call time: a deep copy then uses its own buffers, and functional_call may replace them
    images, *rest = inputs
    return (images - getattr(model, _MEAN)) / getattr(model, _STD), *rest
