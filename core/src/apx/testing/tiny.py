"""A network and data for tests of single steps: images of 1x8x8, three classes, 24 of them to train with."""

import torch
from torch import Tensor, nn

from ..datasets import Dataset, Split

CLASSES = 3


def tiny_net(seed: int = 0) -> nn.Sequential:
    """Return two bias-free convolutions with batch norm and a linear layer, for images of 1x8x8; 582 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
    )


def tiny_split(count: int, seed: int) -> Split:
    """Return `count` random images 1x8x8 in which the labels can be seen."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 128, (count, 1, 8, 8), generator=generator)
    images[torch.arange(count), 0, 2 * labels] += 100
    return Split(images.to(torch.uint8), labels)


def tiny_data() -> Dataset:
    """Return 24 training and 6 validation images; whoever touches the test set fails."""
    test = Split.lazy(_forbidden, size=6, shape=(1, 8, 8))
    return Dataset("tiny", tiny_split(24, 1), tiny_split(6, 2), test, num_classes=CLASSES, threat_eps=0.1)


def _forbidden() -> tuple[Tensor, Tensor]:
    raise AssertionError("a run read the test set")
