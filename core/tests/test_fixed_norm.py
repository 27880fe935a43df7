"""Batch norm by running statistics: values, gradients and where it is left to PyTorch."""

import pytest
import torch
from torch import Tensor, nn

from apx.fixed_norm import FixedNorms

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def norm(device: str, affine: bool = True) -> nn.BatchNorm2d:
    torch.manual_seed(0)
    made = nn.BatchNorm2d(6, affine=affine).to(device)
    made(torch.randn(8, 6, 5, 5, device=device))  # running statistics of its own
    for parameter in made.parameters():
        nn.init.uniform_(parameter, -1.0, 2.0)
    return made.eval().requires_grad_(False)


def through(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    values = layer(leaf)
    (gradient,) = torch.autograd.grad(values, leaf, torch.cos(values.detach()))
    return values.detach(), gradient


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_those_of_batch_norm(
    device: str, dtype: torch.dtype, affine: bool, memory_format: torch.memory_format
) -> None:
    layer = norm(device, affine)
    if dtype == torch.float64:
        layer.double()
    x = torch.randn(8, 6, 5, 5, device=device).to(dtype).contiguous(memory_format=memory_format)
    expected, expected_gradient = through(layer, x)
    with FixedNorms():
        values, gradient = through(layer, x)
    assert torch.equal(values, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    assert gradient.is_contiguous(memory_format=memory_format)


def test_parameters_that_learn_and_training_are_left_to_pytorch() -> None:
    x = torch.randn(8, 6, 5, 5)
    for prepare in (lambda layer: layer.requires_grad_(True), lambda layer: layer.train()):
        layer, other = norm("cpu"), norm("cpu")
        prepare(layer), prepare(other)
        with FixedNorms():
            values = layer(x)
        assert torch.equal(values, other(x))
        assert values.requires_grad == other(x).requires_grad
        assert torch.equal(layer.running_mean, other.running_mean) != layer.training  # a second pass has moved it


def test_statistics_of_the_batch_alone_are_left_to_pytorch() -> None:
    layer, x = nn.BatchNorm2d(6, track_running_stats=False).eval(), torch.randn(8, 6, 5, 5)
    with FixedNorms():
        assert torch.equal(layer(x), layer(x))
        values = layer(x)
    assert torch.equal(values, layer(x))
