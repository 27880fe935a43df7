"""One part of a dataset, in memory, read when its images or labels are touched and not before."""

import hashlib
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from apx.errors import UserError

Pair = tuple[Tensor, Tensor]
_ON_DEVICE_BYTES = 2 << 30  # larger splits stay in host memory and are moved batch by batch


class Split:
    """Images uint8 [N, C, H, W] and labels int64 [N]; their count and shape are known without reading them.

    `Split(images, labels)` wraps tensors; `Split.lazy(...)` names a function that makes them. A user's float images
    in [0, 1] are rounded to the nearest of the 256 levels (`apx.datasets.loaders`).
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._read: Callable[[], Pair] = lambda: (images, labels)
        self._size, self.shape = len(images), _image_shape(images)
        _ = self._pair  # wrong tensors are refused here, where they come from

    @classmethod
    def lazy(cls, read: Callable[[], Pair], *, size: int, shape: tuple[int, int, int]) -> "Split":
        """Make a split of `size` images of `shape` (C, H, W) that calls `read` once, at the first touch."""
        split = cls.__new__(cls)
        split._read, split._size, split.shape = read, size, shape
        return split

    @property
    def images(self) -> Tensor:
        """All images, uint8 [N, C, H, W], on the CPU."""
        return self._pair[0]

    @property
    def labels(self) -> Tensor:
        """All labels, int64 [N], on the CPU."""
        return self._pair[1]

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:  # never reads
        return f"Split({self._size} images of {'x'.join(map(str, self.shape))})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of images and labels: the split's identity in cache keys and records. Reads the split."""
        state = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for tensor in self._pair:
            state.update(tensor.contiguous().numpy().tobytes())
        return state.hexdigest()

    def on(self, device: torch.device) -> Pair:
        """Return images and labels on `device`, kept there for the next call; a very large split stays on the CPU."""
        if device.type == "cpu" or self.images.nbytes > _ON_DEVICE_BYTES:
            return self._pair
        if device not in self._copies:
            self._copies[device] = (self.images.to(device), self.labels.to(device))
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, Pair]:
        return {}

    @cached_property
    def _pair(self) -> Pair:
        images, labels = self._read()
        if images.dtype != torch.uint8 or labels.dtype != torch.int64:
            raise UserError(f"a split holds uint8 images and int64 labels, not {images.dtype} and {labels.dtype}")
        if _image_shape(images) != self.shape or len(images) != self._size or labels.shape != (self._size,):
            raise UserError(
                f"a split of {self._size} images of {list(self.shape)} was announced, but reading it gave images "
                f"{list(images.shape)} and labels {list(labels.shape)}"
            )
        return images, labels


def _image_shape(images: Tensor) -> tuple[int, int, int]:
    if images.ndim != 4:
        raise UserError(f"images should be [N, C, H, W], got {list(images.shape)}")
    channels, height, width = images.shape[1:]
    return channels, height, width
