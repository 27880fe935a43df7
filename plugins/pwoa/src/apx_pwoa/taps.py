"""Which features of a network are read, and reading them during one forward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Tanh, nn.Sigmoid)
_INPUT = ":input"


def default_taps(module: nn.Module) -> tuple[str, ...]:
    """Return the taps of a network: a module's name for its output, `NAME:input` for what goes into it.

    With residual blocks (modules that hold two convolutions or more themselves): what enters the first block, and
    each block's output. Else what each pooling layer gives; without those, each activation before the first linear
    layer; without those, each convolution. Then, what enters each linear layer but the first, or the only one. For
    ResNet-18, VGG-16, wide ResNets and LeNet these are the official code's taps.
    """
    layers = {name: layer for name, layer in module.named_modules() if name}
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    hidden = tuple(f"{name}{_INPUT}" for name in (linear[1:] or linear))
    if blocks := _blocks(layers):
        return (f"{blocks[0]}{_INPUT}", *blocks, *hidden)
    order = list(layers)
    body = order[: order.index(linear[0])] if linear else order
    for kinds in (_POOLS, _ACTIVATIONS, _CONVOLUTIONS):
        if found := [name for name in body if isinstance(layers[name], kinds)]:
            return (*found, *hidden)
    return hidden


def unknown_taps(module: nn.Module, taps: Sequence[str]) -> list[str]:
    """Return those of `taps` that name no layer of `module`."""
    known = dict(module.named_modules())
    return [tap for tap in taps if not tap or tap.removesuffix(_INPUT) not in known]


@contextmanager
def tapped(module: nn.Module, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Read features during the forward passes inside: tap -> [m, ...], those of the last pass.

    The hooks are gone afterwards.
    """
    features: dict[str, Tensor] = {}
    handles: list[RemovableHandle] = []
    for tap in taps:
        layer = module.get_submodule(tap.removesuffix(_INPUT))
        if tap.endswith(_INPUT):
            handles.append(layer.register_forward_pre_hook(lambda _, args, tap=tap: features.update({tap: args[0]})))
        else:
            handles.append(layer.register_forward_hook(lambda _, args, out, tap=tap: features.update({tap: out})))
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def _blocks(layers: dict[str, nn.Module]) -> list[str]:
    blocks: list[str] = []
    for name, layer in layers.items():
        if isinstance(layer, nn.Sequential) or any(name.startswith(f"{block}.") for block in blocks):
            continue
        if sum(isinstance(child, _CONVOLUTIONS) for child in layer.children()) >= 2:
            blocks.append(name)
    return blocks
