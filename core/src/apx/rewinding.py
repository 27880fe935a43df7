"""Snapshots of a network and rewinding to them (Frankle & Carbin, ICLR 2019; Frankle et al., ICML 2020)."""

from collections.abc import Mapping

from torch import Tensor, nn


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the whole state: weights, biases, batch norm's affine parameters and running statistics."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def rewind(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Bring every tensor of the module back to the snapshot, in place; masks on the module stay in force."""
    module.load_state_dict(state)
