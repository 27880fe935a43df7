"""Layouts for training: channels last, but where a kernel of the processor's library would corrupt memory."""

import copy

import pytest
import torch
from torch import Tensor, nn

import apx
from apx.memory_format import lay_out_for_training


def last(module: nn.Module) -> bool:
    weights = [p for p in module.parameters() if p.dim() == 4 and min(p.shape[1], p.shape[2]) > 1]
    return all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (nn.Conv2d(16, 32, 1, stride=2), True),
        (nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 16, 1)), True),
        (nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 16, 1, stride=2)), False),
        (nn.Sequential(nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 1, stride=(1, 2), groups=4)), False),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), True),
    ],
)
def test_only_strided_1x1_convolutions_of_few_inputs_are_kept_contiguous(network: nn.Module, expected: bool) -> None:
    assert last(lay_out_for_training(network)) == expected


@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_narrow_networks_train_with_true_gradients(width: int) -> None:
    torch.manual_seed(0)
    network = lay_out_for_training(apx.build("resnet18", num_classes=10, width=width))
    reference = copy.deepcopy(network).double()
    x = torch.rand(16, 3, 32, 32)
    grad = [gradients(network, x), gradients(reference, x.double())]
    for (name, ours), expected in zip(grad[0].items(), grad[1].values(), strict=True):
        scale = expected.abs().max()
        assert (ours - expected).abs().max() < 1e-2 * scale, name


def gradients(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    network(x).square().mean().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
