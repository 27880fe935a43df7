"""The random weights that RST searches."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from apx.masks import normalisation_layers, prunable_layers

Initialisation = Literal["signed-constant", "kaiming-normal", "kaiming-uniform", "xavier-normal"]


@torch.no_grad()
def make_scratch(
    module: nn.Module, init: Initialisation, generator: torch.Generator, *, densities: Mapping[str, float] | None = None
) -> None:
    """Draw all weights of a network anew, in place, and take biases and affine normalisation out of the calculation.

    The published networks have no biases and batch norms without affine parameters; zero biases, gamma 1 and beta 0
    that nothing trains compute the same.

    Args:
        module: the network.
        init: the weights' distribution.
        generator: on the CPU.
        densities: weight name -> share that will be kept, by which its fan-in is scaled; 1 where absent.
    """
    for name, layer in prunable_layers(module).items():
        weight = layer.get_parameter("weight")
        drawn = draw_weights(weight.shape, init, generator)
        density = (densities or {}).get(f"{name}.weight", 1.0)
        weight.copy_(drawn / math.sqrt(density))
        if layer.bias is not None:
            nn.init.zeros_(layer.get_parameter("bias"))
    for norm in normalisation_layers(module):
        for name, parameter in norm.named_parameters(recurse=False):
            nn.init.constant_(parameter, 1.0 if name == "weight" else 0.0)


def draw_weights(shape: Sequence[int], init: Initialisation, generator: torch.Generator) -> Tensor:
    """Return fresh weights of `shape` on the CPU; gain sqrt(2), fan-in in * kh * kw."""
    drawn = torch.empty(*shape)
    if init == "signed-constant":
        return signed_constant(nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator))
    if init == "kaiming-normal":
        return nn.init.kaiming_normal_(drawn, nonlinearity="relu", generator=generator)
    if init == "kaiming-uniform":
        return nn.init.kaiming_uniform_(drawn, nonlinearity="relu", generator=generator)
    return nn.init.xavier_normal_(drawn, generator=generator)


def signed_constant(weight: Tensor) -> Tensor:
    """Return +-sqrt(2 / fan_in) with the signs of `weight` (Ramanujan et al., CVPR 2020).

    Zeros, which one in some ten million drawn weights is, become positive; in the official code they stay.
    """
    constant = math.sqrt(2.0 / weight[0].numel())
    return torch.where(weight < 0, -constant, constant)
