"""`digits`: scikit-learn's handwritten digits, the dataset that needs no download."""

from functools import cache

import torch
from torch import Tensor

from apx.datasets.dataset import Dataset
from apx.datasets.split import Split
from apx.datasets.stratified import complement, stratified_subset

SIZES = {"train": 1197, "val": 240, "test": 360}


def digits() -> Dataset:
    """Return the 1,797 digits as 3x16x16 images: 1,197 to train on, 240 to select on, 360 to test; Linf 0.15.

    The 8x8 originals have values 0..16; they become round(255 v / 16), each pixel repeated 2x2, grey in three channels.
    The splits are fixed and stratified.
    """

    def split(name: str) -> Split:
        return Split.lazy(lambda: _part(name), size=SIZES[name], shape=(3, 16, 16))

    return Dataset(
        name="digits",
        train=split("train"),
        val=split("val"),
        test=split("test"),
        num_classes=10,
        threat_eps=0.15,
        augmentation="shift",
        classes=tuple("0123456789"),
    )


def _part(name: str) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(bunch.images)
    images = (grey * 255 / 16).round().to(torch.uint8)
    images = images.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None].expand(-1, 3, -1, -1)
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    where = _positions(tuple(labels.tolist()))[name]
    return images[where].contiguous(), labels[where]


@cache
def _positions(labels: tuple[int, ...]) -> dict[str, Tensor]:
    everything = torch.tensor(labels)
    test = stratified_subset(everything, SIZES["test"], key="digits/test")
    rest = complement(test, len(labels))
    chosen = stratified_subset(everything[rest], SIZES["val"], key="digits/val")
    return {"test": test, "val": rest[chosen], "train": rest[complement(chosen, len(rest))]}
