"""A convolution whose weight gradient is fast on tiny maps, the last layers of networks for small images."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

TINY = 4  # pixels of an output map


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with the weight gradient of tiny maps (2x2 and below) as one matrix product, on CPUs in fp32.

    Without AVX-512, oneDNN adds such a gradient up image by image: at 512 channels, 2x2 maps and 64 images that is 4 to
    5 times slower than the product, and half of an adversarial training step of vgg16 on 16x16 images. Values are those
    of `nn.Conv2d` up to rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, out, H', W']."""
        plain = self.bias is None and self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        usual = x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or not isinstance(self.padding, tuple)
        if usual or not plain or x.shape[-2] * x.shape[-1] > TINY * self.stride[0] * self.stride[1]:
            return super().forward(x)
        return _TinyMaps.apply(x, self.weight, self.stride, self.padding)


class _TinyMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        to_input = to_weight = None
        if ctx.needs_input_grad[0]:
            to_input = conv2d_input(x.shape, weight, gradient, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            patches = _patches(x, weight, ctx.stride, ctx.padding)
            to_weight = (gradient.movedim(1, -1).flatten(0, 2).T @ patches).unflatten(1, (*weight.shape[2:], -1))
            to_weight = to_weight.movedim(-1, 1)
        return to_input, to_weight, None, None


def _patches(x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Return what each output pixel sees, [B * H' * W', kh * kw * C]: channels last, as weights are laid out."""
    height, width = weight.shape[2:]
    padded = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    windows = padded.unfold(2, height, stride[0]).unfold(3, width, stride[1])  # [B, C, H', W', kh, kw]
    return windows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(0, 2)
