"""The convolution with a fast weight gradient computes what PyTorch's does."""

import pytest
import torch
from torch import nn

from apx.architectures.convolution import Conv2d


def same_weights(mine: Conv2d) -> nn.Conv2d:
    plain = nn.Conv2d(
        mine.in_channels, mine.out_channels, mine.kernel_size, mine.stride, mine.padding, bias=mine.bias is not None
    )
    plain.load_state_dict(mine.state_dict())
    return plain


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "bias"),
    [
        (1, 3, 1, 1, False),
        (2, 3, 1, 1, False),
        (2, 1, 1, 0, False),
        (4, 3, 2, 1, False),
        (4, 1, 2, 0, False),
        (2, (1, 3), 1, (0, 1), False),
        (2, 3, 1, 1, True),  # the cases that PyTorch's own path takes
        (8, 3, 1, 1, False),
    ],
)
def test_values_and_gradients_are_pytorchs(size, kernel, stride, padding, bias, layout) -> None:
    torch.manual_seed(0)
    mine = Conv2d(5, 7, kernel, stride, padding, bias=bias).to(memory_format=layout)
    plain = same_weights(mine)
    x = torch.randn(6, 5, size, size)
    results = []
    for conv in (mine, plain):
        given = x.clone().requires_grad_()
        out = conv(given)
        out.square().sum().backward()
        results.append((out, given.grad, conv.weight.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    conv = Conv2d(2, 3, 3, padding=1, bias=False).double()
    x = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(conv, {"weight": w}, x), (x, conv.weight))
    torch.autograd.gradgradcheck(lambda x, w: torch.func.functional_call(conv, {"weight": w}, x), (x, conv.weight))


def test_attacks_compute_no_weight_gradient() -> None:
    conv = Conv2d(2, 3, 3, padding=1, bias=False).requires_grad_(False)
    x = torch.randn(2, 2, 2, 2, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None
    assert conv.weight.grad is None


def test_autocast_reaches_the_tiny_maps() -> None:
    conv = Conv2d(2, 3, 3, padding=1, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(torch.randn(2, 2, 2, 2)).dtype == torch.bfloat16
