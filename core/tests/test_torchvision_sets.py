"""Tiny stand-ins in torchvision's own file formats; nothing is downloaded."""

import dataclasses
import hashlib
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
import torchvision

from apx.datasets import load_dataset, torchvision_sets
from apx.errors import UserError


def md5(path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar_batch(path, seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    path.write_bytes(pickle.dumps({"data": data, "labels": [i % 10 for i in range(count)]}))
    return [path.name, md5(path)]


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Write a CIFAR-10 of 40 + 10 images as torchvision lays it out, and its archive."""
    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [cifar_batch(folder / "data_batch_1", 1, 40)])
    monkeypatch.setattr(kind, "test_list", [cifar_batch(folder / "test_batch", 2, 10)])
    meta = folder / "batches.meta"
    meta.write_bytes(pickle.dumps({"label_names": [str(i) for i in range(10)]}))
    monkeypatch.setattr(kind, "meta", {"filename": meta.name, "key": "label_names", "md5": md5(meta)})
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    monkeypatch.setattr(kind, "url", (tmp_path / "unreachable.tar.gz").as_uri())
    shrink(monkeypatch, "cifar10", (40, 10))
    return tmp_path


def shrink(monkeypatch, name: str, sizes: tuple[int, int]) -> None:
    monkeypatch.setattr(torchvision_sets, "VALIDATION", 10)
    source = dataclasses.replace(torchvision_sets.SOURCES[name], sizes=sizes)
    monkeypatch.setitem(torchvision_sets.SOURCES, name, source)


def test_cifar_is_read_from_the_data_folder(cifar):
    data = load_dataset("cifar10", cifar / "made")
    assert data.describe()["sizes"] == {"train": 30, "val": 10, "test": 10}
    assert (data.threat_eps, data.augmentation, data.image_shape) == (8 / 255, "crop_flip", (3, 32, 32))
    assert data.val.labels.bincount().tolist() == [1] * 10
    raw = pickle.loads((cifar / "made" / "cifar-10-batches-py" / "test_batch").read_bytes())["data"]
    assert torch.equal(data.test.images, torch.from_numpy(raw).view(10, 3, 32, 32))
    stored = torch.cat([data.train.images, data.val.images]).flatten(1)
    assert len(stored.unique(dim=0)) == 40


def test_an_archive_placed_by_hand_is_unpacked(cifar, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    shutil.copy(cifar / "cifar-10-python.tar.gz", root)
    assert len(load_dataset("cifar10", root).test.images) == 10
    assert sorted(path.name for path in root.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_a_damaged_file_is_replaced_from_the_archive(cifar):
    damaged = cifar / "cifar-10-batches-py" / "test_batch"
    damaged.parent.mkdir()
    damaged.write_bytes(b"half a fi")
    assert len(load_dataset("cifar10", cifar).test.images) == 10


def test_missing_data_without_a_network_is_explained(cifar, tmp_path):
    with pytest.raises(UserError, match=r"'cifar10' is not in .*place cifar-10-python.tar.gz there.*--data-dir"):
        load_dataset("cifar10", tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_the_standard_place_is_in_apxs_home(cifar, monkeypatch):
    monkeypatch.setenv("APX_HOME", str(cifar))
    shutil.copytree(cifar / "made", cifar / "data")
    assert len(load_dataset("cifar10").train) == 30


def test_svhn_is_read_from_its_matlab_files(tmp_path, monkeypatch):
    savemat = pytest.importorskip("scipy.io").savemat
    rng = np.random.default_rng(0)
    parts = {
        "train": rng.integers(0, 256, (32, 32, 3, 40), np.uint8),
        "test": rng.integers(0, 256, (32, 32, 3, 20), np.uint8),
    }
    split_list = {}
    for part, pixels in parts.items():
        file = tmp_path / f"{part}_32x32.mat"
        labels = np.arange(pixels.shape[-1], dtype=np.uint8)[:, None] % 10
        savemat(file, {"X": pixels, "y": np.where(labels == 0, 10, labels)})  # SVHN's zero is a 10
        split_list[part] = ["", file.name, md5(file)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split_list)
    shrink(monkeypatch, "svhn", (40, 20))
    data = load_dataset("svhn", tmp_path)
    assert data.test.labels.tolist() == [*range(10)] * 2
    assert torch.equal(data.test.images[3], torch.from_numpy(parts["test"][..., 3]).permute(2, 0, 1))
    assert data.val.labels.bincount().tolist() == [1] * 10
