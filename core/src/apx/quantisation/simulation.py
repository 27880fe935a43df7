"""An 8-bit network in float32: weights on their integers' grid, inputs rounded on the way in, gradients let through."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..masks import prunable_layers

WEIGHT_SCALE, INPUT_SCALE, INPUT_ZERO_POINT = "weight_scale", "input_scale", "input_zero_point"
INPUT_RANGE = (0, 255)


@dataclass(frozen=True)
class Integers:
    """What an int8 layer computes with, on the CPU.

    `weight` int8 [out, in, ...], `weight_scale` float32 [out]: the weight is their product. `bias` float32 [out] or
    None. An input x is taken for (q - input_zero_point) * input_scale with the nearest integer q in 0..255.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None
    input_scale: float
    input_zero_point: int


def is_quantised(module: nn.Module) -> bool:
    """Say whether `module` has layers of 8 bits."""
    return bool(quantised_layers(module))


def quantised_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of 8 bits by name, in definition order."""
    return {name: layer for name, layer in prunable_layers(module).items() if hasattr(layer, INPUT_SCALE)}


def make_room(layer: nn.Module, *, bias: bool) -> None:
    """Give a convolution or linear layer the tensors of 8 bits (values to be loaded), and its input the rounding.

    The input is rounded by a pre-hook that reads the layer's own buffers, so copies and `.to(device)` keep it.
    """
    weight = layer.get_parameter("weight")
    if bias and layer.bias is None:
        layer.bias = nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
    layer.register_buffer(WEIGHT_SCALE, weight.new_ones(len(weight)))
    layer.register_buffer(INPUT_SCALE, weight.new_ones(()))
    layer.register_buffer(INPUT_ZERO_POINT, torch.zeros((), dtype=torch.int32, device=weight.device))
    layer.register_forward_pre_hook(_round_input)


@torch.no_grad()
def put(layer: nn.Module, integers: Integers) -> None:
    """Make a convolution or linear layer compute with `integers`."""
    make_room(layer, bias=integers.bias is not None)
    layer.get_parameter("weight").copy_(dequantised(integers.weight, integers.weight_scale))
    if integers.bias is not None:
        layer.get_parameter("bias").copy_(integers.bias)
    layer.get_buffer(WEIGHT_SCALE).copy_(integers.weight_scale)
    layer.get_buffer(INPUT_SCALE).fill_(integers.input_scale)
    layer.get_buffer(INPUT_ZERO_POINT).fill_(integers.input_zero_point)


def dequantised(weight: Tensor, scale: Tensor) -> Tensor:
    """Return the float32 weight [out, in, ...] of integers and their scales [out]; the integer 0 gives 0."""
    return weight.float() * scale.view(-1, *[1] * (weight.dim() - 1))


def integer_weight(layer: nn.Module) -> Tensor:
    """Return the int8 weight of a layer of 8 bits: exact, since its float weight is a multiple of the scale."""
    weight, scale = layer.get_parameter("weight"), layer.get_buffer(WEIGHT_SCALE)
    return torch.round(weight / scale.view(-1, *[1] * (weight.dim() - 1))).to(torch.int8)


class Folded(nn.Sequential):
    """Where a batch norm was that is folded into the layer before it: empty, but for what else the norm did."""


def remove_folded(module: nn.Module, norms: Iterable[str]) -> None:
    """Take the batch norms of these names, folded into the layers before them, out of `module`."""
    for name in norms:
        norm = module.get_submodule(name)
        also = (getattr(norm, "drop", None), getattr(norm, "act", None))  # timm's norms drop and activate as well
        module.set_submodule(name, Folded(*(part for part in also if isinstance(part, nn.Module))))


def folded_norms(module: nn.Module) -> list[str]:
    """Return the names of the batch norms that were folded."""
    return [name for name, layer in module.named_modules() if isinstance(layer, Folded)]


def _round_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # torch's own operation: its gradient is 1 inside the calibrated range and 0 where the input is clipped
    x, *rest = inputs
    scale, zero_point = getattr(layer, INPUT_SCALE), getattr(layer, INPUT_ZERO_POINT)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, *INPUT_RANGE), *rest
