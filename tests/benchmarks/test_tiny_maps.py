"""A training step's two passes with PyTorch's convolutions and with apx's, whose weight gradient is one product.

`pytest tests/benchmarks -n0 --benchmark-enable` prints, per network on digits-sized images, both and their ratio.
"""

import pytest
import torch
from torch import nn

from apx.architectures import build
from apx.architectures.convolution import Conv2d
from apx.memory_format import lay_out


def with_plain_convolutions(network: nn.Module) -> nn.Module:
    """Turn every `Conv2d` of apx back into PyTorch's, in place."""
    for module in network.modules():
        if type(module) is Conv2d:
            module.__class__ = nn.Conv2d
    return network


@pytest.mark.parametrize("convolution", ["nn.Conv2d", "apx"])
@pytest.mark.parametrize("arch", ["vgg16", "resnet18"])
def test_forward_and_backward(benchmark, arch: str, convolution: str) -> None:
    benchmark.group = f"{arch}, 32 images of 16x16, fp32"
    network = lay_out(build(arch, num_classes=10, in_channels=3, image_size=16))
    network = network if convolution == "apx" else with_plain_convolutions(network)
    x = torch.rand(32, 3, 16, 16)
    benchmark(lambda: network(x).sum().backward())
    assert all(parameter.grad is not None for parameter in network.parameters())
