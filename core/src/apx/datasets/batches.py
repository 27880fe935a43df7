"""Batches out of memory: shuffled and augmented for training, in order for measuring."""

from collections.abc import Iterator

import torch
from torch import Tensor

from apx.datasets.augmentation import POLICIES, augment
from apx.datasets.dataset import Dataset
from apx.datasets.split import Split
from apx.randomness import keyed_permutation

Labelled = tuple[Tensor, Tensor, Tensor]


def epoch_batches(
    data: Dataset,
    split: Split,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: bool = True,
    device: torch.device | str = "cpu",
    start_batch: int = 0,
    drop_last: bool = False,
) -> Iterator[Labelled]:
    """Yield one epoch of `split` in the order that (seed, epoch) fixes.

    Args:
        data: the dataset, whose augmentation policy applies.
        split: normally `data.train`.
        batch_size: images per batch.
        seed: the key of order and augmentation.
        epoch: likewise.
        augment: False leaves the images as they are.
        device: where the batches are made.
        start_batch: first batch to yield; the earlier ones are not made (a resumed epoch ends as the whole one).
        drop_last: leave out a last batch that is smaller than `batch_size`.

    Yields:
        images float32 [B, C, H, W] in [0, 1], labels int64 [B], and the samples' indices in `split`, int64 [B].
    """
    order = keyed_permutation(len(split), seed, "order", epoch=epoch)
    if drop_last:
        order = order[: len(order) // batch_size * batch_size]
    policy = POLICIES[data.augmentation if augment else "none"]
    for images, labels, indices in _gather(split, order[start_batch * batch_size :], batch_size, device):
        yield to_float(_augment(images, indices, policy, seed=seed, epoch=epoch)), labels, indices


def ordered_batches(
    split: Split, *, batch_size: int, device: torch.device | str = "cpu", n: int | None = None
) -> Iterator[Labelled]:
    """Yield the first `n` samples of `split` (all where None) in their stored order, not augmented.

    Yields:
        The same triples as `epoch_batches`.
    """
    order = torch.arange(len(split) if n is None else min(n, len(split)))
    for images, labels, indices in _gather(split, order, batch_size, device):
        yield to_float(images), labels, indices


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1]."""
    return images.to(torch.float32) / 255


_augment = augment  # the function, which the keyword `augment` hides


def _gather(split: Split, order: Tensor, batch_size: int, device: torch.device | str) -> Iterator[Labelled]:
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, got {batch_size}")
    device = torch.device(device)
    images, labels = split.on(device)
    for chunk in order.to(device).split(batch_size) if len(order) else ():
        where = chunk.to(images.device)
        yield images.index_select(0, where).to(device), labels.index_select(0, where).to(device), chunk
