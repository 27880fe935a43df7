"""A second pass is left out where what it does is known, and nothing tells the difference."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx.architectures.normalisation import Normalisation, normalise_inputs
from apx.training.repeated_pass import pass_twice


class Counting(nn.Module):
    """Counts its passes."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.layers(x)


class Noise(nn.Module):
    """Adds random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.rand_like(x)


class Memory(nn.Module):
    """Keeps the mean of what passed last."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.last.copy_(x.detach().mean())
        return x


def network(*more: nn.Module, momentum: float | None = 0.1) -> Counting:
    torch.manual_seed(0)
    first, last = nn.BatchNorm2d(4, momentum=momentum), nn.BatchNorm1d(4, momentum=0.3)
    return Counting(nn.Conv2d(3, 4, 3), first, nn.ReLU(), *more, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def images(seed: int) -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def in_bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def gradients(module: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters())))


def loss_of(first: Tensor, between: Tensor, second: Tensor) -> Tensor:
    return functional.mse_loss(first, 2 * between) + (second.softmax(dim=1) * between).sum()


def test_gradients_and_statistics_are_those_of_both_passes() -> None:
    """In float64, which autocast leaves alone, and with a pass of other images in between."""
    ours, usual = network().double(), network().double()
    x, other = images(0).double(), images(1).double()
    with in_bf16():
        first, second = pass_twice(ours, x)
        loss = loss_of(first, ours(other), second())
        expected = loss_of(usual(x), usual(other), usual(x))
    assert (ours.passes, usual.passes) == (2, 3)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(ours, loss), gradients(usual, expected))
    torch.testing.assert_close(ours.state_dict(), usual.state_dict())


def test_a_second_pass_that_nobody_asks_for_leaves_nothing() -> None:
    ours, usual = network(), network()
    with in_bf16():
        pass_twice(ours, images(0))
        usual(images(0))
    torch.testing.assert_close(ours.state_dict(), usual.state_dict(), rtol=0, atol=0)


def frozen_norms() -> Counting:
    module = network()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return module


def normalised() -> Counting:
    module = network()
    normalise_inputs(module, Normalisation((0.5,) * 3, (0.2,) * 3), 3)
    return module


def hooked() -> Counting:
    module = network()
    module.layers[0].register_forward_hook(lambda *_: None)
    return module


def without_norms() -> Counting:
    torch.manual_seed(0)
    return Counting(nn.Flatten(), nn.Linear(192, 4))


@pytest.mark.parametrize("make", [network, frozen_norms, normalised, without_norms])
def test_it_is_left_out_of_plain_networks(make: Callable[[], Counting]) -> None:
    ours, usual = make(), make()
    with in_bf16():
        first, second = pass_twice(ours, images(0))
        assert torch.equal(first, second())
        usual(images(0)), usual(images(0))
    assert ours.passes == 1
    torch.testing.assert_close(ours.state_dict(), usual.state_dict())


@pytest.mark.parametrize(
    "make",
    [
        lambda: network(nn.Dropout(0.5)),
        lambda: network(Noise()),
        lambda: network(Memory()),
        lambda: network(momentum=None),
        hooked,
    ],
    ids=["dropout", "noise", "another buffer", "cumulative statistics", "a hook"],
)
def test_it_is_made_where_it_may_differ(make: Callable[[], Counting]) -> None:
    ours, usual = make(), make()
    with in_bf16():
        torch.manual_seed(1)
        first, second = pass_twice(ours, images(0))
        found = [first, second()]
        torch.manual_seed(1)
        expected = [usual(images(0)), usual(images(0))]
    assert ours.passes == 2
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(ours.state_dict(), usual.state_dict(), rtol=0, atol=0)


def test_it_is_made_in_float32() -> None:
    ours = network()
    first, second = pass_twice(ours, images(0))
    assert torch.equal(first, second())
    assert ours.passes == 2
