"""Floating-point operations of layers that read and write a share of their channels (the official `utils/hw.py`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from apx.attacks import frozen
from apx.cost import output_positions


@dataclass(frozen=True)
class Layer:
    """What the operations of a convolution or linear layer depend on.

    Args:
        inputs: input channels or features.
        outputs: output channels or features.
        area: kernel height times width.
        positions: output positions (height times width; 1 for a linear layer).
    """

    inputs: int
    outputs: int
    area: int = 1
    positions: float = 1.0

    def flops(self, inputs: float | Tensor, outputs: float | Tensor) -> float | Tensor:
        """Return outputs * positions * ((2 area inputs - 1) + 1 + 1): multiply-adds, a bias and an activation."""
        return outputs * self.positions * (2 * self.area * inputs + 1)


def layers_of(module: nn.Module, names: Sequence[str], example: Tensor, *, official: bool = False) -> list[Layer]:
    """Return the layers of the weights `names`, in their order, as one pass of `example` [1, C, H, W] shows them.

    With `official`, a convolution's output map is (H - k + 2p) / stride + 1 without rounding down: 16.5 pixels a side
    for a stride of 2 on 32.
    """
    positions: dict[str, float] = {**output_positions(module, example)}
    if official:
        positions |= _unrounded_positions(module, example)
    found = []
    for name in names:
        outputs, inputs, *kernel = module.get_parameter(name).shape
        found.append(Layer(inputs, outputs, math.prod(kernel), positions.get(name, 0)))
    return found


def uniform_target(layers: Sequence[Layer], rate: float) -> float:
    """Return the official budget F_t: each layer with round(rate inputs) and round(rate outputs), which may be none."""
    return float(sum(layer.flops(round(layer.inputs * rate), round(layer.outputs * rate)) for layer in layers))


@torch.no_grad()
def _unrounded_positions(module: nn.Module, example: Tensor) -> dict[str, float]:
    positions: dict[str, float] = {}
    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd) and not isinstance(layer.padding, str):

            def note(layer: nn.modules.conv._ConvNd, inputs: tuple[Tensor], name: str = name) -> None:
                padding: Any = layer.padding
                sizes = zip(inputs[0].shape[2:], layer.kernel_size, padding, layer.stride, strict=True)
                sides = ((n - k + 2 * p) / s + 1 for n, k, p, s in sizes)
                positions[f"{name}.weight" if name else "weight"] = math.prod(sides)

            handles.append(layer.register_forward_pre_hook(note))
    try:
        with frozen(module):
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return positions
