"""The initial weights of the official code: convolutions by fan-out, batch norm by a constant."""

import math

import torch
from torch import nn

_BatchNorm = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator, *, bn_weight: float, linear_std: float | None) -> None:
    """Draw all weights anew and reset batch norm, in place.

    Convolutions are N(0, 2 / (kh kw out)), biases 0, gamma `bn_weight`, beta 0, running statistics 0 and 1. Linear
    weights are N(0, linear_std^2), or PyTorch's default U(-1/sqrt(in), 1/sqrt(in)) where that is None.

    Args:
        module: the network.
        generator: a CPU generator; numbers are drawn there, whatever the device.
        bn_weight: initial gamma.
        linear_std: see above.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels
            drawn = torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2.0 / fan_out)
            layer.weight.copy_(drawn)
        elif isinstance(layer, nn.Linear):
            layer.weight.copy_(_linear(layer, generator, linear_std))
        elif isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            if layer.affine:
                layer.weight.fill_(bn_weight)
        if isinstance(layer, (nn.Conv2d, nn.Linear, _BatchNorm)) and layer.bias is not None:
            layer.bias.zero_()


def _linear(layer: nn.Linear, generator: torch.Generator, std: float | None) -> torch.Tensor:
    if std is not None:
        return std * torch.randn(layer.weight.shape, generator=generator)
    bound = 1.0 / math.sqrt(layer.in_features)
    return bound * (2 * torch.rand(layer.weight.shape, generator=generator) - 1)
