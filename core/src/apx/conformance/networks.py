"""The four tiny networks of the conformance check: each under 20,000 parameters, for 3x8x8 images and four classes."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..randomness import derive_seed
from .data import CHANNELS, CLASSES, SIZE


def plain() -> nn.Module:
    """Two convolutions with batch norm, and a linear layer."""
    return nn.Sequential(
        *_conv_norm(CHANNELS, 8),
        nn.ReLU(),
        *_conv_norm(8, 16, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


def residual() -> nn.Module:
    """A residual block whose shortcut is a 1x1 convolution."""
    return nn.Sequential(
        *_conv_norm(CHANNELS, 8),
        nn.ReLU(),
        _Block(8, 16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


def depthwise() -> nn.Module:
    """A depthwise convolution followed by a pointwise one."""
    return nn.Sequential(
        *_conv_norm(CHANNELS, 8),
        nn.ReLU(),
        *_conv_norm(8, 8, groups=8),
        nn.ReLU(),
        *_conv_norm(8, 16, kernel=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


def flatten() -> nn.Module:
    """A convolution with a bias and without batch norm, flattened into two linear layers."""
    return nn.Sequential(
        nn.Conv2d(CHANNELS, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * (SIZE // 2) ** 2, 16),
        nn.ReLU(),
        nn.Linear(16, CLASSES),
    )


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "residual": residual,
    "depthwise": depthwise,
    "flatten": flatten,
}


def build_tiny(name: str, seed: int) -> nn.Module:
    """Build a tiny network, initialised from `seed` as a run initialises its network.

    Raises:
        UserError: no such network.
    """
    if name not in NETWORKS:
        raise UserError(f"unknown network '{name}'; choose one of {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        return NETWORKS[name]()


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_norm(inputs, outputs, stride=2)
        self.conv2, self.bn2 = _conv_norm(outputs, outputs)
        self.shortcut = nn.Sequential(*_conv_norm(inputs, outputs, kernel=1, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def _conv_norm(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(outputs)
