"""What one mask bit removes: weights, filters, input channels, kernels, columns."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..errors import UserError


class Structure(ABC):
    """Maps a weight's shape to its units, saliencies to unit scores, unit masks to weight masks."""

    granularity: ClassVar[str]
    label: ClassVar[str]  # S or US

    @abstractmethod
    def unit_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a layer's units for a weight of `shape`."""

    @abstractmethod
    def reduce(self, saliency: Tensor) -> Tensor:
        """Sum the weights' saliencies into unit scores of `unit_shape`."""

    @abstractmethod
    def expand(self, units: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the bool weight mask of `shape` for a bool mask over units."""

    def count(self, shape: Sequence[int]) -> int:
        """Return the number of units of a weight of `shape`."""
        return math.prod(self.unit_shape(shape))


@dataclass(frozen=True)
class Weights(Structure):
    """Single weights (unstructured)."""

    granularity = "weights"
    label = "US"

    def unit_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return `shape` itself."""
        return tuple(shape)

    def reduce(self, saliency: Tensor) -> Tensor:
        """Return the saliencies as they are."""
        return saliency

    def expand(self, units: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the unit mask as it is."""
        return units


@dataclass(frozen=True)
class _Slices(Structure):
    """Units that are slices along the leading dimensions `dims` of the weight."""

    label = "S"
    dims: ClassVar[tuple[int, ...]]

    def unit_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the sizes along the unit dimensions."""
        return tuple(shape[dim] for dim in self.dims)

    def reduce(self, saliency: Tensor) -> Tensor:
        """Sum over all other dimensions."""
        others = [dim for dim in range(saliency.dim()) if dim not in self.dims]
        return saliency.sum(dim=others) if others else saliency

    def expand(self, units: Tensor, shape: Sequence[int]) -> Tensor:
        """Broadcast the unit mask over all other dimensions."""
        view = [shape[dim] if dim in self.dims else 1 for dim in range(len(shape))]
        return units.view(view).expand(*shape).contiguous()


@dataclass(frozen=True)
class Filters(_Slices):
    """Output filters: dim 0."""

    granularity = "filters"
    dims = (0,)


@dataclass(frozen=True)
class Channels(_Slices):
    """Input channels: dim 1."""

    granularity = "channels"
    dims = (1,)


@dataclass(frozen=True)
class Kernels(_Slices):
    """Kernels: (out, in) pairs."""

    granularity = "kernels"
    dims = (0, 1)


@dataclass(frozen=True)
class Columns(Structure):
    """Columns of the [out, in * kh * kw] matrix: one position of one input channel, in all filters."""

    granularity = "columns"
    label = "S"

    def unit_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return all sizes but the number of filters."""
        return tuple(shape[1:])

    def reduce(self, saliency: Tensor) -> Tensor:
        """Sum over the filters."""
        return saliency.sum(dim=0)

    def expand(self, units: Tensor, shape: Sequence[int]) -> Tensor:
        """Repeat the unit mask for each filter."""
        return units.expand(*shape).contiguous()


_STRUCTURES: tuple[Structure, ...] = (Weights(), Filters(), Channels(), Kernels(), Columns())


def structure_of(granularity: str) -> Structure:
    """Return the structure of a granularity's name.

    Raises:
        UserError: no such granularity.
    """
    for structure in _STRUCTURES:
        if structure.granularity == granularity:
            return structure
    allowed = ", ".join(structure.granularity for structure in _STRUCTURES)
    raise UserError(f"unknown granularity '{granularity}'; choose one of {allowed}")
