"""Statistics of values that come in batches, added up in double precision."""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean, population standard deviation and kurtosis (3 for a normal distribution; None where all are equal)."""

    mean: float
    std: float
    kurtosis: float | None

    def document(self) -> dict[str, float | None]:
        """Return the moments as plain JSON values."""
        return asdict(self)


class MomentSums:
    """Sums of the first four powers of all values so far."""

    def __init__(self) -> None:
        self._count = 0
        self._sums = [0.0, 0.0, 0.0, 0.0]

    def add(self, values: Tensor) -> None:
        """Take the values of a tensor of any shape."""
        wide = values.double().flatten()
        power = torch.ones_like(wide)
        for number in range(4):
            power = power * wide
            self._sums[number] += float(power.sum())
        self._count += len(wide)

    @property
    def squares(self) -> float:
        """Sum of the squares."""
        return self._sums[1]

    def moments(self) -> Moments:
        """Return the moments of what was added."""
        mean, second, third, fourth = (total / self._count for total in self._sums)
        variance = second - mean**2
        if variance <= 1e-14 * second:  # nothing but rounding
            return Moments(mean, 0.0, None)
        central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
        return Moments(mean, math.sqrt(variance), central / variance**2)


class ChannelSums:
    """Least, largest, sum and sum of squares of each channel, dimension 1."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._square = torch.zeros(())
        self._low, self._high = torch.tensor(math.inf), torch.tensor(-math.inf)

    def add(self, values: Tensor) -> None:
        """Take a tensor [B, C, ...]."""
        wide = values.double().transpose(0, 1).flatten(1).cpu()
        self._count += wide.shape[1]
        self._sum = self._sum + wide.sum(dim=1)
        self._square = self._square + wide.square().sum(dim=1)
        self._low = torch.minimum(self._low, wide.amin(dim=1))
        self._high = torch.maximum(self._high, wide.amax(dim=1))

    def document(self) -> list[dict[str, float]]:
        """Return min, max, mean and population standard deviation of each channel as plain JSON values."""
        mean = self._sum / self._count
        std = (self._square / self._count - mean.square()).clamp(min=0).sqrt()
        columns = (self._low.tolist(), self._high.tolist(), mean.tolist(), std.tolist())
        return [dict(zip(("min", "max", "mean", "std"), row, strict=True)) for row in zip(*columns, strict=True)]
