"""Small models for the tests of the evaluation: a linear one whose distances are known, and a random network."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# On 2x2 images: z = (x0 + x1, x2 + x3, -1, -2). The Linf distance to the boundary is (z_0 - z_1) / 4 exactly.
NEAR, FAR, WRONG = (0.6, 0.6, 0.5, 0.5), (0.9, 0.9, 0.1, 0.1), (0.2, 0.2, 0.8, 0.8)
IMAGES = torch.tensor([NEAR, FAR, WRONG]).view(3, 1, 2, 2)
LABELS = torch.tensor([0, 0, 0])


@dataclass
class Split:
    images: Tensor
    labels: Tensor


def linear(classes: int = 4) -> nn.Module:
    layer = nn.Linear(4, classes)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, :2] = 1
        layer.weight[1, 2:] = 1
        layer.bias.copy_(torch.tensor([0.0, 0.0, -1.0, -2.0])[:classes])
    return nn.Sequential(nn.Flatten(), layer)


def unbiased() -> nn.Module:
    """z = (x0 + x1, x2 + x3, 0), the linear model of the minimum-norm attacks' known distances."""
    layer = nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, :2] = 1
        layer.weight[1, 2:] = 1
    return nn.Sequential(nn.Flatten(), layer)


def random_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.ReLU(), nn.Flatten(), nn.Linear(54, 5)
    )


def random_split(net: nn.Module, n: int = 24) -> Split:
    images = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        labels = net.eval()(images.float() / 255).argmax(1)
    labels[0] = (labels[0] + 1) % 5
    return Split(images, labels)


def broken(document: dict) -> list:
    return [sample["broken_by"] for sample in document["samples"]]
