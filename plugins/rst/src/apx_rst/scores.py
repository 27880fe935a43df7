"""The scores that RST's search trains, and how those of filters reach the network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from apx.reparametrisation import LearnedScores

_WHISPER = 1e-6


def initial_scores(units: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return signed scores of shape `units`, on the CPU.

    U(-1/sqrt(fan_in), 1/sqrt(fan_in)) with the fan-in of the scores themselves: in * kh * kw for weights, in for
    kernels. Scores of filters have none and are N(0, 1).
    """
    if len(units) == 1:
        return torch.randn(*units, generator=generator)
    bound = 1.0 / math.sqrt(math.prod(units[1:]))
    return bound * (2.0 * torch.rand(*units, generator=generator) - 1.0)


def trailing(tensor: Tensor, dims: int) -> Tensor:
    """Return `tensor` with dimensions of size 1 added at its end, `dims` in all."""
    return tensor.view(*tensor.shape, *[1] * (dims - tensor.dim()))


class FilterScores(LearnedScores):
    """One score per filter, from which a removed filter learns as well.

    Behind a ReLU a filter that emits exactly 0 has no gradient. While scores are searched a removed one therefore
    passes on a millionth, too little to change what the network says, and its gradient is dL/dm of a gate behind the
    ReLU.
    """

    def forward(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        """Return the weight times 1 where the filter is kept, and 1e-6 where it is not."""
        gate = _WHISPER + (1.0 - _WHISPER) * self.top()
        return weight * gate if mask is None else weight * gate * mask
