"""Names and forms of layers that differ from the canonical networks', and what is exactly the same without them."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ...errors import UserError
from .wrapping import State

_CONVOLUTIONS = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)  # indices in a VGG-16's features
_BLOCK = re.compile(r"layer([1-5])\.(\d+)\.([01])\.(.+)")
_HIDDEN = re.compile(r"layer([67])\.([01])\.(.+)")
_NORMS = ("running_mean", "running_var")


def rename(state: State, said: list[str]) -> State:
    """Return the tensors under canonical names: `features`, `classifier`, `linear`."""
    state = _blocks(state, said)
    renamed: State = {}
    for name, tensor in state.items():
        if name.startswith("fc."):
            name = f"linear.{name.removeprefix('fc.')}"
        renamed[name] = tensor
    return renamed


def _blocks(state: State, said: list[str]) -> State:
    """Rename PwoA's VGG-16, whose convolutions and hidden layers are blocks `layerN`, in reading order."""
    if "layer8.weight" not in state:
        return state
    places = sorted({match.group(1, 2) for name in state if (match := _BLOCK.fullmatch(name))}, key=_numbers)
    if len(places) != len(_CONVOLUTIONS):
        raise UserError(f"a VGG-16 has 13 convolutions, the blocks layer1 to layer5 of this file have {len(places)}")
    normalised = "layer6.1.running_mean" in state
    heads = {"6": 0, "7": 3 if normalised else 2}
    renamed: State = {}
    for name, tensor in state.items():
        if match := _BLOCK.fullmatch(name):
            index = _CONVOLUTIONS[places.index(match.group(1, 2))] + int(match.group(3))
            name = f"features.{index}.{match.group(4)}"
        elif match := _HIDDEN.fullmatch(name):
            name = f"classifier.{heads[match.group(1)] + int(match.group(2))}.{match.group(3)}"
        elif name.startswith("layer8."):
            name = f"classifier.{6 if normalised else 4}.{name.removeprefix('layer8.')}"
        renamed[name] = tensor
    said.append("in blocks layer1 to layer8")
    return renamed


def _numbers(place: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(map(int, place))


def flatten_head(state: State, said: list[str]) -> State:
    """Turn a head that is a 1x1 convolution without bias into a linear layer with a bias of zero."""
    for name in ("linear", "classifier"):
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.dim() == 4 and weight.shape[2:] == (1, 1):
            state = {**state, f"{name}.weight": weight.flatten(1)}
            state.setdefault(f"{name}.bias", torch.zeros(len(weight)))
            said.append("with a 1x1 convolution as head")
    return state


def affine_batch_norms(state: State, said: list[str]) -> State:
    """Give a batch norm without affine tensors those that change nothing, and an old one its counter."""
    layers = [name.removesuffix("running_var") for name in state if name.endswith("running_var")]
    bare = [layer for layer in layers if f"{layer}weight" not in state and f"{layer}bias" not in state]
    state = dict(state)
    for layer in bare:
        variance = state[f"{layer}running_var"]
        state[f"{layer}weight"], state[f"{layer}bias"] = torch.ones_like(variance), torch.zeros_like(variance)
    for layer in layers:
        state.setdefault(f"{layer}num_batches_tracked", torch.tensor(0))
    if bare:
        said.append("without affine batch norms")
    return state


def absorb_biases(state: State, said: list[str]) -> State:
    """Drop the biases of convolutions before a batch norm: the same as no bias and running_mean - bias."""
    state = dict(state)
    absorbed = 0
    for index in _CONVOLUTIONS:
        bias = state.get(f"features.{index}.bias")
        mean = state.get(f"features.{index + 1}.running_mean")
        if bias is None or mean is None or state.get(f"features.{index}.weight", bias).dim() != 4:
            continue
        if bias.shape != mean.shape:
            raise UserError(f"features.{index} has {len(bias)} biases, its batch norm {len(mean)} channels")
        del state[f"features.{index}.bias"]
        state[f"features.{index + 1}.running_mean"] = (mean.double() - bias.double()).to(mean.dtype)
        absorbed += 1
    if absorbed:
        said.append(f"with the biases of {absorbed} convolutions")
    return state


def in_float32(state: State) -> State:
    """Return floating-point tensors in float32."""

    def cast(tensor: Tensor) -> Tensor:
        return tensor.float() if tensor.is_floating_point() else tensor

    return {name: cast(tensor) for name, tensor in state.items()}
