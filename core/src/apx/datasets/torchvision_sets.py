"""`cifar10`, `cifar100`, `svhn`: torchvision's, downloaded once, with a fixed validation split cut from train."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apx.architectures.normalisation import Normalisation
from apx.datasets.dataset import Dataset
from apx.datasets.split import Split
from apx.datasets.stratified import complement, stratified_subset
from apx.errors import UserError

VALIDATION = 5_000  # images cut from train, stratified
SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Source:
    """How torchvision names a dataset, and what apx records about it."""

    kind: str  # class in torchvision.datasets
    archives: tuple[str, ...]  # what is downloaded, or placed in the data folder by hand
    sizes: tuple[int, int]  # train (validation included), test
    num_classes: int
    normalisation: Normalisation
    by_split: bool = False  # SVHN(split="train") instead of CIFAR10(train=True)

    def open(self, root: Path, *, train: bool, download: bool = False) -> Any:
        """Return torchvision's dataset; it verifies the files' checksums and raises RuntimeError where they fail."""
        from torchvision import datasets

        which = {"split": "train" if train else "test"} if self.by_split else {"train": train}
        return getattr(datasets, self.kind)(root=str(root), download=download, **which)

    def wanted(self) -> dict[str, str]:
        """Return the files that hold train and test, relative to the data folder, with their MD5 sums."""
        from torchvision import datasets

        kind = getattr(datasets, self.kind)
        if self.by_split:
            return {kind.split_list[part][1]: kind.split_list[part][2] for part in ("train", "test")}
        files = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
        return {f"{kind.base_folder}/{file}": md5 for file, md5 in files}


SOURCES = {
    "cifar10": Source(
        "CIFAR10",
        ("cifar-10-python.tar.gz",),
        (50_000, 10_000),
        10,
        Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ),
    "cifar100": Source(
        "CIFAR100",
        ("cifar-100-python.tar.gz",),
        (50_000, 10_000),
        100,
        Normalisation((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ),
    "svhn": Source(
        "SVHN",
        ("train_32x32.mat", "test_32x32.mat"),
        (73_257, 26_032),
        10,
        Normalisation((0.4309, 0.4302, 0.4463), (0.1976, 0.2003, 0.1981)),
        by_split=True,
    ),
}


def torchvision_dataset(name: str, root: Path) -> Dataset:
    """Return the dataset `name` from `root`, downloading what is missing; images are read when a split is touched.

    Threat Linf 8/255; crop-and-flip augmentation (on SVHN too, as the official code of most methods has it).

    Raises:
        UserError: the files are not there and cannot be downloaded.
    """
    source = SOURCES[name]
    _ensure_downloaded(name, source, root)
    train_size, test_size = source.sizes

    def split(read: Callable[[], tuple[Tensor, Tensor]], size: int) -> Split:
        return Split.lazy(read, size=size, shape=SHAPE)

    return Dataset(
        name=name,
        train=split(lambda: _train_part(name, root, validation=False), train_size - VALIDATION),
        val=split(lambda: _train_part(name, root, validation=True), VALIDATION),
        test=split(lambda: _decode(source.open(root, train=False)), test_size),
        num_classes=source.num_classes,
        threat_eps=8 / 255,
        normalisation=source.normalisation,
        augmentation="crop_flip",
    )


def _train_part(name: str, root: Path, *, validation: bool) -> tuple[Tensor, Tensor]:
    images, labels = _decode(SOURCES[name].open(root, train=True))
    where = stratified_subset(labels, VALIDATION, key=f"{name}/val")
    if not validation:
        where = complement(where, len(labels))
    return images[where], labels[where]


def _decode(opened: Any) -> tuple[Tensor, Tensor]:
    """Return uint8 [N, 3, 32, 32] and int64 [N] of a torchvision dataset."""
    images = torch.from_numpy(opened.data)
    if images.shape[-1] == 3:  # CIFAR keeps the channels last, SVHN first
        images = images.permute(0, 3, 1, 2)
    labels = opened.targets if hasattr(opened, "targets") else opened.labels
    return images.contiguous(), torch.as_tensor(labels, dtype=torch.int64)


def _ensure_downloaded(name: str, source: Source, root: Path) -> None:
    wanted = source.wanted()
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        if not _all_there(wanted, root):
            _download(source, wanted, root)
    except (OSError, RuntimeError) as error:  # no network, no space, no permission, wrong checksum
        for folder in missing:  # a mistake leaves no folder behind
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise UserError(
            f"the dataset '{name}' is not in {root} and could not be downloaded ({error}): connect to the "
            f"internet, or place {' and '.join(source.archives)} there, or give the folder that has it with --data-dir"
        ) from error


def _all_there(wanted: dict[str, str], root: Path) -> bool:
    from torchvision.datasets.utils import check_integrity

    return all(check_integrity(str(root / path), md5) for path, md5 in wanted.items())


def _download(source: Source, wanted: dict[str, str], root: Path) -> None:
    """Download beside the final place and rename file by file, so that two runs at once, or a kill, do no harm."""
    root.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=root, prefix=".download-", ignore_cleanup_errors=True) as temporary,
        contextlib.redirect_stdout(sys.stderr),  # stdout may be somebody's JSON
    ):
        for archive in source.archives:
            if (root / archive).exists():  # placed by hand: torchvision verifies and unpacks it
                (Path(temporary) / archive).symlink_to((root / archive).resolve())
        for train in (True, False):
            source.open(Path(temporary), train=train, download=True)
        for path in wanted:
            (root / path).parent.mkdir(exist_ok=True)
            os.replace(Path(temporary) / path, root / path)
