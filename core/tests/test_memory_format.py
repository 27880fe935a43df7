"""Layouts for training: channels last, but where a kernel of the processor's library would corrupt memory."""

import copy

import pytest
import torch
from torch import nn

import apx
from apx.memory_format import lay_out


def last(module: nn.Module) -> bool:
    weights = [p for p in module.parameters() if p.dim() == 4 and min(p.shape[1], p.shape[2]) > 1]
    assert weights  # a 1x1 kernel is of both layouts
    return all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(16, 32, 1, stride=2)), True),
        (nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 16, 1)), True),
        (nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 16, 1, stride=2)), False),
        (nn.Sequential(nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 1, stride=(1, 2), groups=4)), False),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), True),
    ],
)
def test_only_strided_1x1_convolutions_of_few_inputs_are_kept_contiguous(network: nn.Module, expected: bool) -> None:
    assert last(lay_out(network)) == expected


@pytest.mark.parametrize("channels", [1, 2, 4, 7, 8, 12, 16])
def test_narrow_networks_train_with_true_gradients(channels: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(channels, 2 * channels, 1, stride=2))
    reference, x = copy.deepcopy(network).double(), torch.rand(4, 3, 32, 32)
    lay_out(network)(x).square().mean().backward()
    reference(x.double()).square().mean().backward()
    for ours, expected in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad.float(), rtol=1e-4, atol=1e-6)


def test_a_narrow_resnet_can_be_trained() -> None:
    network = lay_out(apx.build("resnet18", num_classes=10, width=4))
    network(torch.rand(4, 3, 32, 32)).square().mean().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())
