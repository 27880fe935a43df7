"""Networks of 8 bits in safetensors files: int8 weights, their scales, and the ranges of the inputs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ..architectures.normalisation import normalisation_of
from ..errors import UserError
from ..export import load_checkpoint, load_into, read_metadata
from ..masks import prunable_layers
from ..shrinking import resize
from ..state_file import save_tensors
from .simulation import (
    INPUT_SCALE,
    WEIGHT_SCALE,
    folded_norms,
    integer_weight,
    make_room,
    quantised_layers,
    remove_folded,
)

NOTE = "quantised"
"""Name of the metadata that says a file holds a network of 8 bits: JSON, the names of the folded batch norms."""

_NORMALISATION = "apx_normalisation"  # as `apx.export` writes it, and `load_into` reads it


def packed(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a network of 8 bits with its weights as int8."""
    state = dict(module.state_dict())
    for name, layer in quantised_layers(module).items():
        state[_key(name, "weight")] = integer_weight(layer)
    return state


def save_quantised(path: Path | str, module: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network of 8 bits to `path`, atomically.

    Args:
        path: the file, safetensors.
        module: `Quantised.module`.
        metadata: more text to store, such as `Opened.metadata()`, which says how the network is built.

    Raises:
        UserError: the module is no network of 8 bits.
    """
    if not quantised_layers(module):
        raise UserError(f"{type(module).__name__} is not quantised: quantise it first, or export it as it is")
    notes = {**(metadata or {}), NOTE: json.dumps({"bits": 8, "folded": folded_norms(module)})}
    if normalisation := normalisation_of(module):
        notes[_NORMALISATION] = json.dumps(asdict(normalisation))
    save_tensors(Path(path), packed(module), notes)


@torch.no_grad()
def load_quantised(path: Path | str, module: nn.Module) -> nn.Module:
    """Load a file of `save_quantised` into a freshly built network, in place, and return it in eval mode.

    Args:
        path: the file; its metadata has the entry `quantised`.
        module: the architecture that was quantised; of a shrunk network the layers are resized.

    Raises:
        UserError: the file is damaged, holds no network of 8 bits, or one of another architecture.
    """
    note = read_metadata(path).get(NOTE)
    if note is None:
        raise UserError(f"{path} holds no quantised network: open it as any other checkpoint")
    state = load_checkpoint(path)
    _fit(module, state, json.loads(note)["folded"], path)
    load_into(module, path)
    for layer in quantised_layers(module).values():
        weight, scale = layer.get_parameter("weight"), layer.get_buffer(WEIGHT_SCALE)
        weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))  # the integers become the weights of the simulation
    return module.eval().requires_grad_(False)


def _fit(module: nn.Module, state: Mapping[str, Tensor], folded: list[str], path: Path | str) -> None:
    """Give `module` the layers and the shapes that `state` was taken from."""
    names = {name for name, _ in module.named_modules()}
    missing = [name for name in folded if name not in names]
    if missing:
        raise UserError(f"the checkpoint {path} does not fit {type(module).__name__}: it has no layer '{missing[0]}'")
    remove_folded(module, folded)
    resize(module, _other_shapes(module, state))
    for name, layer in prunable_layers(module).items():
        if _key(name, INPUT_SCALE) in state:
            make_room(layer, bias=_key(name, "bias") in state)


def _other_shapes(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return layer name -> (outputs, inputs) where the stored tensors are those of a shrunk layer."""
    sizes: dict[str, tuple[int, int]] = {}
    for name, layer in module.named_modules():
        stored, built = state.get(_key(name, "weight")), getattr(layer, "weight", None)
        if stored is None or not isinstance(built, Tensor) or stored.dim() != built.dim():
            continue
        if stored.shape != built.shape:
            depthwise = getattr(layer, "groups", 1) > 1
            sizes[name] = (len(stored), len(stored) if depthwise or stored.dim() == 1 else stored.shape[1])
    return sizes


def _key(layer: str, tensor: str) -> str:
    return f"{layer}.{tensor}" if layer else tensor
