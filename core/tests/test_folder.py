import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from apx.datasets import load_dataset
from apx.errors import UserError


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))


def pixels(seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def write(root, part: str, per_class: dict[str, int], start: int = 0) -> None:
    for name, count in per_class.items():
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pixels(start + number)).save(folder / f"{number:03}.png")


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    write(root, "train", {"cat": 20, "ant": 10})
    write(root, "test", {"ant": 2, "cat": 3}, start=100)
    return root


def test_a_folder_is_read_with_classes_in_alphabetical_order(pictures):
    data = load_dataset(f"folder:{pictures}")
    assert data.classes == ("ant", "cat")
    assert data.describe()["sizes"] == {"train": 27, "val": 3, "test": 5}
    assert (data.threat_eps, data.image_shape) == (8 / 255, (3, 6, 6))
    assert data.test.labels.tolist() == [0, 0, 1, 1, 1]
    expected = torch.from_numpy(pixels(102)).permute(2, 0, 1)
    assert torch.equal(data.test.images[4], expected)


def test_a_tenth_of_train_is_held_out_in_proportion(pictures):
    data, again = load_dataset(f"folder:{pictures}"), load_dataset(f"folder:{pictures}")
    assert data.val.labels.tolist() == [0, 1, 1]
    assert torch.equal(data.val.images, again.val.images)
    stored = torch.cat([data.train.images, data.val.images]).flatten(1).unique(dim=0)
    assert len(stored) == 20  # the ten ants look like the first ten cats


def test_a_val_folder_is_used_where_there_is_one(pictures):
    write(pictures, "val", {"ant": 1, "cat": 1}, start=200)
    data = load_dataset(f"folder:{pictures}")
    assert data.describe()["sizes"] == {"train": 30, "val": 2, "test": 5}
    assert torch.equal(data.val.images[0], torch.from_numpy(pixels(200)).permute(2, 0, 1))


def test_decoded_images_are_cached_until_a_file_changes(pictures, monkeypatch):
    before = load_dataset(f"folder:{pictures}").test.images
    with monkeypatch.context() as patch:
        patch.setattr("apx.datasets.folder.decode", lambda *_: pytest.fail("decoded again"))
        assert torch.equal(load_dataset(f"folder:{pictures}").test.images, before)
    changed = pictures / "test" / "ant" / "000.png"
    Image.fromarray(pixels(999)).save(changed)
    os.utime(changed, ns=(1, 1))
    assert torch.equal(
        load_dataset(f"folder:{pictures}").test.images[0], torch.from_numpy(pixels(999)).permute(2, 0, 1)
    )


def test_the_test_folder_is_listed_but_not_decoded(pictures):
    (pictures / "test" / "ant" / "000.png").write_bytes(b"not an image")
    data = load_dataset(f"folder:{pictures}")
    assert len(data.train.images) == 27
    with pytest.raises(UserError, match=r"000\.png' is not an image"):
        _ = data.test.images


def test_grey_images_get_three_channels(pictures):
    file = pictures / "train" / "ant" / "000.png"
    Image.fromarray(pixels(5)[..., 0]).save(file)
    data = load_dataset(f"folder:{pictures}")
    everything = torch.cat([data.train.images, data.val.images])
    grey = torch.from_numpy(pixels(5)[..., 0]).expand(3, -1, -1)
    assert (everything == grey).flatten(1).all(1).any()


def replace(file, image: Image.Image) -> None:
    image.save(file)


def truncate(file) -> None:
    Image.fromarray(pixels(0, 64)).resize((6, 6)).save(file)
    file.write_bytes(file.read_bytes()[:-60])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda file: replace(file, Image.fromarray(pixels(0, 7))), "is 7x7, others are 6x6"),
        (lambda file: replace(file, Image.fromarray(pixels(0).astype(np.uint16)[..., 0])), "more than 8 bits"),
        (truncate, "cannot be decoded"),
    ],
)
def test_unusable_images_are_named(pictures, spoil, sentence):
    spoil(pictures / "train" / "cat" / "004.png")
    with pytest.raises(UserError, match=re.escape("004.png") + ".*" + sentence):
        _ = load_dataset(f"folder:{pictures}").train.images


def test_images_that_are_not_square_are_refused(pictures):
    replace(pictures / "train" / "ant" / "000.png", Image.fromarray(pixels(0)[:4]))
    with pytest.raises(UserError, match="is 6x4: apx needs square images"):
        load_dataset(f"folder:{pictures}")


def test_wrong_layouts_are_explained(pictures, tmp_path):
    def refused(path, sentence: str) -> None:
        with pytest.raises(UserError, match=sentence):
            load_dataset(f"folder:{path}")

    refused("", "no folder ''")
    refused(tmp_path / "nowhere", "no folder .*nowhere.*train/CLASS/IMAGE")
    refused(pictures / "train", "no folder .*train/train")
    (pictures / "test" / "dog").mkdir()
    refused(pictures, "test/dog' holds no images")
    write(pictures, "val", {"cat": 1})
    Image.fromarray(pixels(0)).save(pictures / "test" / "dog" / "a.png")
    refused(pictures, "should have the same class folders; not shared: dog")
    (pictures / "test" / "dog" / "a.png").unlink()
    (pictures / "test" / "dog").rmdir()
    refused(pictures, "val' should have the same class folders; not shared: ant")


def test_stray_files_are_ignored(pictures):
    (pictures / "train" / ".DS_Store").write_bytes(b"")
    (pictures / "train" / "cat" / "notes.txt").write_text("hello")
    (pictures / "train" / ".cache").mkdir()
    assert len(load_dataset(f"folder:{pictures}").train) == 27
