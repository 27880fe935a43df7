"""The tiny dataset of the conformance check, and the guard before its test split."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..datasets import Dataset, Split
from ..randomness import keyed_uniform

CHANNELS, SIZE, CLASSES = 3, 8, 4
_COUNTS = {"train": 64, "val": 16, "test": 16}


class ForbiddenReadError(Exception):
    """A method has touched the test split while it ran."""


@dataclass
class Guard:
    """Stands before the test split: remembers that it was touched, also if a method swallows the error.

    Args:
        strict: raise when touched; otherwise only remember.
    """

    strict: bool = True
    reads: int = field(default=0, init=False)

    def read(self) -> tuple[Tensor, Tensor]:
        """Return the test split, or refuse it.

        Raises:
            ForbiddenReadError: the guard is strict.
        """
        self.reads += 1
        if self.strict:
            raise ForbiddenReadError("the test set was read during a run; only evaluation may read it")
        return _samples("test")


def tiny_dataset(guard: Guard) -> Dataset:
    """Return 64 training images 3x8x8 of four classes (a bright quadrant in noise), the same every time."""
    return Dataset(
        name="conformance",
        train=Split(*_samples("train")),
        val=Split(*_samples("val")),
        test=Split.lazy(guard.read, size=_COUNTS["test"], shape=(CHANNELS, SIZE, SIZE)),
        num_classes=CLASSES,
        threat_eps=0.05,
        augmentation="shift",
    )


def _samples(split: str) -> tuple[Tensor, Tensor]:
    indices = torch.arange(_COUNTS[split])
    labels = indices % CLASSES
    images = 0.5 * keyed_uniform(0, f"conformance/{split}", indices, (CHANNELS, SIZE, SIZE))
    half = SIZE // 2
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += 0.4
    return (images * 255).round().to(torch.uint8), labels
