"""The layout in which the convolutions' weights lie in memory; values, shapes and names do not change by it."""

import torch
from torch import nn

_BLOCK = 16  # channels that oneDNN's kernels take at once, on AVX-512; 8 on AVX2


def set_memory_format(module: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """Lay out the four-dimensional parameters of `module` in `memory_format`, in place, and return it.

    With channels-last weights a convolution takes and returns channels-last activations, whatever its input: forward
    and input gradient of vgg16 take about 0.7 times as long on a CPU, and tensor cores want that layout anyway.
    """
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
    return module


def lay_out(module: nn.Module) -> nn.Module:
    """Lay out `module` channels last, or contiguously where its weight gradients would then corrupt memory; return it.

    On CPUs oneDNN's weight gradient of a strided 1x1 convolution with few input channels, channels last, writes past
    its workspace: wrong gradients, a hang or a crash (its issue 6035). Networks of usual widths have none.
    """
    overruns = any(_overruns(layer) for layer in module.modules())
    return set_memory_format(module, torch.contiguous_format if overruns else torch.channels_last)


def _overruns(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.weight.device.type == "cpu"
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.in_channels // layer.groups < _BLOCK
    )
