"""`folder:PATH`: images in class folders, decoded once and remembered."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from apx.datasets.dataset import Dataset
from apx.datasets.decoding import decode, image_shape
from apx.datasets.split import Pair, Split
from apx.datasets.stratified import complement, stratified_subset
from apx.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_LAYOUT = "a dataset folder holds train/CLASS/IMAGE and test/CLASS/IMAGE, and may hold val/CLASS/IMAGE"


def folder_dataset(path: str) -> Dataset:
    """Return the images under `path`: train/ and test/, optionally val/, each with one folder per class.

    Labels follow the alphabetical order of the class folders. Images become 3-channel uint8, must be square and of one
    size, and are decoded when a split is first touched; the tensors are cached under `apx.paths.home()`. Without val/,
    a tenth of train (stratified, always the same for the same files) is held out. Threat Linf 8/255, crop-and-flip
    augmentation: `load_dataset` can change both.

    Raises:
        UserError: a missing folder, classes that differ between splits, an empty class, a broken image, mixed sizes.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f"no folder '{path}': give folder:PATH of an existing one; {_LAYOUT}")
    train, test = _listing(root / "train"), _listing(root / "test")
    val = _listing(root / "val", train.classes) if (root / "val").exists() else None
    _check_classes(train, test, *([val] if val is not None else []))
    shape = image_shape(train.files[0])
    if val is None:
        train_split, val_split = _held_out(train, shape)
    else:
        train_split, val_split = _whole(train, shape), _whole(val, shape)
    return Dataset(
        name=f"folder:{path}",
        train=train_split,
        val=val_split,
        test=_whole(test, shape),
        num_classes=len(train.classes),
        threat_eps=8 / 255,
        augmentation="crop_flip",
        classes=train.classes,
    )


@dataclass(frozen=True)
class Listing:
    """The image files of one split folder, class by class, and their labels."""

    folder: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]  # paths as text: with 60,000 of them Path objects cost a second
    labels: Tensor  # int64 [len(files)]

    @cached_property
    def key(self) -> str:
        """SHA-256 over every file's name, size and time of change, in order."""
        state = hashlib.sha256(
            f"1:{self.folder.resolve()}".encode(errors="surrogateescape")
        )  # 1: version of the decoding
        for file in self.files:
            facts = os.stat(file)
            state.update(f"\n{file}:{facts.st_size}:{facts.st_mtime_ns}".encode(errors="surrogateescape"))
        return state.hexdigest()

    def read(self, shape: tuple[int, int, int]) -> Pair:
        """Return images and labels, out of the cache or decoded."""
        return _cached_images(self, shape), self.labels


def _listing(folder: Path, expected: tuple[str, ...] | None = None) -> Listing:
    if not folder.is_dir():
        raise UserError(f"no folder '{folder}': {_LAYOUT}")
    with os.scandir(folder) as entries:
        classes = tuple(sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".")))
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(file for file in os.listdir(folder / name) if _is_image(file))
        if not found:
            raise UserError(f"the class folder '{folder / name}' holds no images ({', '.join(SUFFIXES)})")
        files += [os.path.join(folder, name, file) for file in found]
        labels += [label] * len(found)
    if not files:
        raise UserError(f"no class folders in '{folder}': {_LAYOUT}")
    return Listing(folder, classes, tuple(files), torch.tensor(labels, dtype=torch.int64))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _check_classes(train: Listing, *others: Listing) -> None:
    for other in others:
        if differing := sorted(set(train.classes) ^ set(other.classes)):
            names = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
            raise UserError(
                f"'{train.folder}' and '{other.folder}' should have the same class folders; not shared: {names}"
            )


def _whole(listing: Listing, shape: tuple[int, int, int]) -> Split:
    return Split.lazy(lambda: listing.read(shape), size=len(listing.files), shape=shape)


def _held_out(train: Listing, shape: tuple[int, int, int]) -> tuple[Split, Split]:
    total = len(train.files)
    if total < 2:
        raise UserError(f"'{train.folder}' holds a single image: nothing can be held out for validation")
    val = stratified_subset(train.labels, max(1, total // 10), key="folder/val")

    def part(where: Tensor) -> Split:
        def read() -> Pair:
            images, labels = train.read(shape)
            return images[where], labels[where]

        return Split.lazy(read, size=len(where), shape=shape)

    return part(complement(val, total)), part(val)


def _cached_images(listing: Listing, shape: tuple[int, int, int]) -> Tensor:
    import safetensors.torch

    from apx.paths import atomic_write, home

    cache = home() / "data" / "folder" / f"{listing.key}.safetensors"
    if cache.exists():
        return safetensors.torch.load_file(cache)["images"]
    images = decode(listing.files, shape)
    try:
        atomic_write(cache, safetensors.torch.save({"images": images}, {"folder": str(listing.folder)}))
    except OSError as error:
        raise UserError(f"the decoded images cannot be cached in {cache.parent} ({error}): set APX_HOME") from error
    return images
