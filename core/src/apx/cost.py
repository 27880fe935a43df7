"""What a network costs: weights, floating-point operations, latency."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .attacks import frozen
from .masks import PRUNABLE, count_zeros


def count_weights(module: nn.Module) -> int:
    """Return the number of convolution and linear weights, zeros included."""
    return count_zeros(module)[1]


@torch.no_grad()
def count_flops(module: nn.Module, example: Tensor) -> int:
    """Return the operations of one image's forward pass (torch's counter: a multiply-add is two).

    Args:
        module: the network; it is run in eval mode and left as it was.
        example: at least one image, [B, C, H, W], on the module's device.
    """
    with frozen(module), FlopCounterMode(display=False) as counter:
        module(example[:1])
    return counter.get_total_flops()


@torch.no_grad()
def latency(module: nn.Module, example: Tensor, *, repetitions: int = 20, warm_up: int = 3) -> float:
    """Return the median seconds of a forward pass of `example` [B, C, H, W] in eval mode, after a warm-up."""
    seconds = []
    with frozen(module):
        for repetition in range(warm_up + repetitions):
            _synchronise(example)
            started = time.perf_counter()
            module(example)
            _synchronise(example)
            if repetition >= warm_up:
                seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _synchronise(example: Tensor) -> None:
    if example.is_cuda:
        torch.cuda.synchronize(example.device)


@torch.no_grad()
def output_positions(module: nn.Module, example: Tensor) -> Mapping[str, int]:
    """Return weight name -> how many output positions each weight serves in one image's forward pass."""
    positions: dict[str, int] = {}
    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, PRUNABLE):
            weight = f"{name}.weight" if name else "weight"

            def note(layer: nn.Module, _: object, output: Tensor, weight: str = weight) -> None:
                features = output.shape[-1] if isinstance(layer, nn.Linear) else output.shape[1]
                positions[weight] = positions.get(weight, 0) + output[0].numel() // features

            handles.append(layer.register_forward_hook(note))
    try:
        with frozen(module):
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return positions


def macs_by_channel_share(
    shapes: Mapping[str, Sequence[int]], positions: Mapping[str, int], shares: Mapping[str, float]
) -> float:
    """Return one image's multiply-adds where each layer reads a share of its input channels.

    A layer writes the share that the next layer, in definition order, reads; the last one writes everything (the
    convention of methods that learn a rate per layer: on residual streams it is an estimate).

    Args:
        shapes: weight name -> [out, in, ...], in definition order.
        positions: weight name -> output positions, see `output_positions`.
        shares: weight name -> share of the input channels that is read, in (0, 1].
    """
    names = list(shapes)
    written = [shares[name] for name in names[1:]] + [1.0]
    return sum(
        math.prod(shapes[name]) * positions[name] * shares[name] * out for name, out in zip(names, written, strict=True)
    )
