"""The samples of an evaluation, drawn from a split or from the user's own loader."""

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import UserError
from ..randomness import keyed_permutation


@runtime_checkable
class ImageSplit(Protocol):
    """A split held in memory: `images` uint8 [N, C, H, W] and `labels` int64 [N]."""

    @property
    def images(self) -> Tensor:
        """All images."""

    @property
    def labels(self) -> Tensor:
        """All labels."""


Source = ImageSplit | Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Batch:
    """Samples on the device: rows of `Samples`, indices in the split, images in [0, 1], labels."""

    rows: Tensor
    indices: Tensor
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Samples:
    """What is evaluated, on the CPU: images (uint8, or float in [0, 1]), labels, indices in the split.

    `clipped` counts the values that a loader's float images had outside [0, 1].
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    complete: bool
    clipped: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, rows: Tensor, size: int, device: torch.device) -> Iterator[Batch]:
        """Yield the samples in `rows` (int64, ascending) in batches of at most `size`, float on `device`."""
        for part in rows.split(size):
            x = self.images[part].to(device)
            x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
            yield Batch(part, self.indices[part].to(device), x, self.labels[part].to(device))


def draw(source: Source, n: int | None) -> Samples:
    """Take `n` samples (all where None) of a split or of a loader of (images, labels) batches.

    A split gives the first `n` of a permutation that depends on the split's size alone: every model and every
    seed meets the same samples, a smaller `n` is contained in a larger one, and an order by class does no
    harm. A loader is read in its own order, and only as far as needed; values outside [0, 1] are clipped and
    counted.

    Raises:
        UserError: no samples, fewer than `n`, images that are NaN, or labels that are not class numbers.
    """
    if n is not None and n < 1:
        raise UserError(f"cannot evaluate on {n} samples: n must be at least 1")
    samples = _from_split(source, n) if isinstance(source, ImageSplit) else _from_loader(source, n)
    return _checked(samples)


def pick(split: ImageSplit, rows: range) -> Samples:
    """Take the samples at these positions of a split.

    Raises:
        UserError: the split is smaller.
    """
    if rows.stop > len(split.labels):
        raise UserError(f"the samples {rows.start} to {rows.stop - 1} are asked for: the split has {len(split.labels)}")
    where = torch.arange(rows.start, rows.stop)
    return _checked(Samples(split.images[where].cpu(), split.labels[where].cpu().long(), where, complete=False))


def tuning_samples(source: Source | None, evaluated: Samples, split: Source) -> Samples | None:
    """Return what attacks may be tuned on: `source`, else the part of `split` that is not evaluated; None if none is.

    An image that is evaluated is never among them, wherever it comes from.
    """
    if source is not None:
        samples = draw(source, None)
    elif isinstance(split, ImageSplit) and not evaluated.complete:
        samples = draw(split, None)
    else:
        return None
    taken = {image.numpy().tobytes() for image in _as_bytes(evaluated.images)}
    keep = torch.tensor([image.numpy().tobytes() not in taken for image in _as_bytes(samples.images)])
    rows = keep.nonzero()[:, 0]
    if not len(rows):
        return None
    return Samples(samples.images[rows], samples.labels[rows], samples.indices[rows], complete=False)


def _as_bytes(images: Tensor) -> Tensor:
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)


def _from_split(split: ImageSplit, n: int | None) -> Samples:
    total = len(split.labels)
    _enough(total, n)
    if n is None or n == total:
        return Samples(split.images.cpu(), split.labels.cpu().long(), torch.arange(total), complete=True)
    chosen = keyed_permutation(total, 0, "evaluation-samples")[:n].sort().values
    return Samples(split.images[chosen].cpu(), split.labels[chosen].cpu().long(), chosen, complete=False)


def _from_loader(loader: Iterable[tuple[Tensor, Tensor]], n: int | None) -> Samples:
    images: list[Tensor] = []
    labels: list[Tensor] = []
    count = 0
    for batch in loader:
        x, y = _pair(batch)
        images.append(x)
        labels.append(y)
        count += len(y)
        if n is not None and count >= n:
            break
    _enough(count, n)
    whole = getattr(loader, "dataset", None)
    total = len(whole) if isinstance(whole, Sized) else count
    kept = count if n is None else n
    return Samples(torch.cat(images)[:kept], torch.cat(labels)[:kept], torch.arange(kept), complete=kept >= total)


def _pair(batch: object) -> tuple[Tensor, Tensor]:
    match batch:
        case (Tensor() as x, Tensor() as y):
            return x.detach().cpu(), y.detach().cpu().long()
    raise UserError(f"the loader yields {type(batch).__name__}, it must yield pairs of tensors (images, labels)")


def _enough(total: int, n: int | None) -> None:
    if total == 0:
        raise UserError("there is nothing to evaluate: the split is empty")
    if n is not None and n > total:
        raise UserError(f"cannot evaluate on {n} samples: the split has {total}; give n up to {total}")


def _checked(samples: Samples) -> Samples:
    images, labels = samples.images, samples.labels
    if images.dim() != 4 or labels.dim() != 1 or len(images) != len(labels):
        raise UserError(
            f"cannot evaluate images {tuple(images.shape)} with labels {tuple(labels.shape)}: "
            "the shapes must be [N, C, H, W] and [N]"
        )
    if int(labels.min()) < 0:
        raise UserError(f"label {int(labels.min())} is no class number: labels start at 0")
    if images.dtype == torch.uint8:
        return samples
    if bool(images.isnan().any()):
        raise UserError("some images are NaN: values must lie in [0, 1]")
    clipped = int(((images < 0) | (images > 1)).sum())
    return replace(samples, images=images.clamp(0.0, 1.0), clipped=clipped) if clipped else samples
