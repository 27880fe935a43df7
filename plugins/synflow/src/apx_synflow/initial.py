"""The initial weights of the paper's experiments."""

import math

import torch
from torch import nn

from apx import Run


@torch.no_grad()
def kaiming_normal(module: nn.Module, run: Run, purpose: str) -> None:
    """Redraw convolutions and linear layers from N(0, 2 / fan_in), biases 0; batch norm starts at (1, 0).

    Args:
        module: the network, changed in place.
        run: keys the numbers by its seed.
        purpose: what the draw is for; another one gives other numbers.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            numbers = torch.empty(layer.weight.shape)
            generator = run.generator(f"{purpose}/{name}")
            numbers.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=generator)
            layer.weight.copy_(numbers)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()
