"""A `Dataset` out of a user's DataLoaders or tensors."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from apx.architectures.normalisation import Normalisation
from apx.datasets.dataset import Dataset
from apx.datasets.split import Pair, Split
from apx.errors import UserError

Source = Split | tuple[Tensor, Tensor] | Iterable[Any]


def from_loaders(
    train: Source,
    val: Source,
    test: Source | None = None,
    *,
    num_classes: int | None = None,
    threat_eps: float = 8 / 255,
    augmentation: str = "none",
    normalisation: Normalisation | None = None,
    name: str = "user",
) -> Dataset:
    """Make a dataset of one's own data; `train` and `val` are read now, `test` when it is touched.

    Each source is a DataLoader (or any iterable) of (images, labels) batches, a pair of tensors, or a `Split`. Images
    are uint8, or floats in [0, 1], which are rounded to 256 levels; normalisation belongs into the model. A loader is
    read once, in its dataset's order: random augmentation in it would be frozen, so name one here instead.

    Args:
        train, val, test: the sources; without test, touching the test split is an error.
        num_classes: largest label of train and val plus one where None.
        threat_eps: Linf radius on images in [0, 1].
        augmentation: `none`, `crop_flip` or `shift`.
        normalisation: statistics recorded with the dataset.
        name: shown in records.

    Raises:
        UserError: images outside [0, 1], labels that are no integers from 0, sources that give something else.
    """
    train_split, val_split = _split(train, "train"), _split(val, "val")
    largest = max(int(split.labels.max()) for split in (train_split, val_split))
    if num_classes is not None and largest >= num_classes:
        raise UserError(f"label {largest} is not allowed with num_classes={num_classes}: labels count from 0")
    return Dataset(
        name=name,
        train=train_split,
        val=val_split,
        test=_test_split(test, train_split.shape),
        num_classes=largest + 1 if num_classes is None else num_classes,
        threat_eps=threat_eps,
        normalisation=normalisation,
        augmentation=augmentation,
    )


def _split(source: Source, part: str) -> Split:
    return source if isinstance(source, Split) else Split(*_tensors(source, part))


def _test_split(source: Source | None, shape: tuple[int, int, int]) -> Split:
    if isinstance(source, Split):
        return source
    if source is None:
        return Split.lazy(_no_test, size=0, shape=shape)
    return Split.lazy(_reader(source), size=_count(source), shape=shape)


def _no_test() -> Pair:
    raise UserError("there is no test data: give test= to from_loaders")


def _reader(source: Source) -> Callable[[], Pair]:
    return lambda: _tensors(source, "test")


def _count(source: Source) -> int:
    if isinstance(source, DataLoader):
        return len(cast(Any, source.sampler if _ordered(source) is source else source.dataset))
    if _is_pair(source):
        return len(cast(Pair, source)[0])
    return sum(len(labels) for _, labels in cast(Iterable[Pair], source))


def _tensors(source: Source, part: str) -> Pair:
    if _is_pair(source):
        images, labels = cast(Pair, source)
        return _as_uint8(images, part), _as_labels(labels, part)
    batches = list(_ordered(source) if isinstance(source, DataLoader) else cast(Iterable[Any], source))
    if not batches or not all(isinstance(b, tuple | list) and len(b) == 2 and _is_pair(b) for b in batches):
        raise UserError(f"the {part} data should give batches of (images, labels) tensors")
    return (
        torch.cat([_as_uint8(images, part) for images, _ in batches]),
        torch.cat([_as_labels(labels, part) for _, labels in batches]),
    )


def _ordered(loader: DataLoader) -> DataLoader:
    """Return a loader of the same samples in their dataset's order; `loader` itself where its sampler chooses."""
    plain = type(loader.sampler) in (RandomSampler, SequentialSampler)
    if loader.batch_size is None or not plain or len(cast(Any, loader.sampler)) != len(cast(Any, loader.dataset)):
        return loader
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
    )


def _is_pair(source: Any) -> bool:
    return isinstance(source, tuple | list) and len(source) == 2 and all(isinstance(t, Tensor) for t in source)


def _as_uint8(images: Tensor, part: str) -> Tensor:
    images = images.detach().cpu()
    if images.dtype == torch.uint8:
        return images
    low, high = (float(images.min()), float(images.max())) if images.numel() else (0.0, 0.0)
    if not images.dtype.is_floating_point or not (low >= 0 and high <= 1):  # nan fails both
        raise UserError(
            f"{part} images are {images.dtype} in [{low:.3g}, {high:.3g}], not uint8 or floats in [0, 1]: leave "
            "normalisation to the model (build(..., normalisation=...))"
        )
    return (images * 255).round().to(torch.uint8)


def _as_labels(labels: Tensor, part: str) -> Tensor:
    if labels.ndim != 1 or labels.dtype.is_floating_point or (labels < 0).any():
        raise UserError(
            f"{part} labels should be one integer from 0 per image, got {labels.dtype} {list(labels.shape)}"
        )
    return labels.detach().cpu().to(torch.int64)
