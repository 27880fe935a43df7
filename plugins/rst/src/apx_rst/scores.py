"""The scores that RST's search trains."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def initial_scores(
    units: Sequence[int], generator: torch.Generator, bound: Literal["fan-in", "one"] = "fan-in"
) -> Tensor:
    """Return signed scores of shape `units`, on the CPU.

    U(-b, b): b is 1 / sqrt(fan_in) with the fan-in of the scores themselves, in * kh * kw for weights and in for
    kernels, or 1. Only ranks matter to the masks, so that b sets how far a step of the optimiser goes.
    """
    limit = 1.0 if bound == "one" else 1.0 / math.sqrt(math.prod(units[1:]))
    return limit * (2.0 * torch.rand(*units, generator=generator) - 1.0)


def trailing(tensor: Tensor, dims: int) -> Tensor:
    """Return `tensor` with dimensions of size 1 added at its end, `dims` in all."""
    return tensor.view(*tensor.shape, *[1] * (dims - tensor.dim()))
