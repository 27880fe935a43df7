import re
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from apx.architectures import Normalisation
from apx.datasets import Dataset, Split, from_loaders, load_dataset, ordered_batches
from apx.datasets.stratified import complement, stratified_subset
from apx.errors import UserError


def unread(size: int = 4) -> Split:
    def read() -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("the test split was read")

    return Split.lazy(read, size=size, shape=(3, 8, 8))


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def test_digits_has_the_documented_splits():
    data = load_dataset("digits")
    assert data.describe() == {
        "name": "digits",
        "num_classes": 10,
        "image_shape": [3, 16, 16],
        "sizes": {"train": 1197, "val": 240, "test": 360},
        "threat": {"norm": "Linf", "eps": 0.15},
        "augmentation": "shift",
        "normalisation": None,
        "classes": list("0123456789"),
    }
    for split in (data.train, data.val, data.test):
        assert split.images.shape == (len(split), 3, 16, 16)
        shares = split.labels.bincount(minlength=10) / len(split)
        assert (shares - 0.1).abs().max() < 0.01


def test_digits_is_scikit_learns_data_each_image_once():
    from sklearn.datasets import load_digits

    data = load_dataset("digits")
    stored = torch.cat([split.images for split in (data.train, data.val, data.test)])
    assert torch.equal(stored[:, 0], stored[:, 2])
    small = stored[:, 0, ::2, 1::2]
    assert torch.equal(small.repeat_interleave(2, 1).repeat_interleave(2, 2), stored[:, 0])
    original = torch.from_numpy(load_digits().images).mul(255 / 16).round().to(torch.uint8)
    assert sorted(small.flatten(1).tolist()) == sorted(original.flatten(1).tolist())


def test_digits_splits_never_change():
    data = load_dataset("digits")
    assert [split.digest[:12] for split in (data.train, data.val, data.test)] == [
        "f7ece752f0f0",
        "910745db0506",
        "95c0b1efe768",
    ]


def test_a_split_is_read_at_the_first_touch_and_once():
    reads = []

    def read() -> tuple[torch.Tensor, torch.Tensor]:
        reads.append(1)
        return images(4), torch.arange(4)

    split = Split.lazy(read, size=4, shape=(3, 8, 8))
    assert (len(split), split.shape, repr(split), reads) == (4, (3, 8, 8), "Split(4 images of 3x8x8)", [])
    assert len(list(ordered_batches(split, batch_size=3))) == 2
    assert split.labels.tolist() == [0, 1, 2, 3]
    assert reads == [1]


def test_nothing_but_touching_it_reads_the_test_split():
    labels = torch.arange(4) % 2
    data = Dataset("d", Split(images(4), labels), Split(images(4), labels), unread(), num_classes=2, threat_eps=0.1)
    assert data.describe()["sizes"]["test"] == 4
    assert "4 images" in repr(data)
    with pytest.raises(AssertionError, match="was read"):
        _ = data.test.images


def test_a_split_refuses_other_tensors_than_announced():
    with pytest.raises(UserError, match="uint8 images and int64 labels"):
        Split(images(2).float(), torch.arange(2))
    with pytest.raises(UserError, match=r"labels \[3\]"):
        Split(images(2), torch.arange(3))
    with pytest.raises(UserError, match="announced"):
        _ = Split.lazy(lambda: (images(3), torch.arange(3)), size=4, shape=(3, 8, 8)).images


def test_the_digest_identifies_the_content():
    labels = torch.arange(3)
    assert Split(images(3), labels).digest == Split(images(3), labels).digest
    assert Split(images(3), labels).digest != Split(images(3), labels.flip(0)).digest


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"threat_eps": 8.0}, "threat eps 8.0 is not allowed"),
        ({"num_classes": 1}, "at least 2"),
        ({"augmentation": "crop-flip"}, "did you mean 'crop_flip'"),
        ({"val": Split(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1).long())}, "differ in image shape"),
    ],
)
def test_a_dataset_refuses_nonsense(changes, sentence):
    part = Split(images(2), torch.arange(2))
    fields = {"train": part, "val": part, "test": part, "num_classes": 2, "threat_eps": 0.1, **changes}
    with pytest.raises(UserError, match=re.escape(sentence)):
        Dataset("d", **fields)


def test_stratified_subsets_are_in_proportion_and_fixed():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    chosen = stratified_subset(labels, 10, key="k")
    assert labels[chosen].bincount().tolist() == [5, 3, 2]
    assert torch.equal(chosen, stratified_subset(labels, 10, key="k"))
    assert not torch.equal(chosen, stratified_subset(labels, 10, key="other"))
    assert sorted([*chosen.tolist(), *complement(chosen, 100).tolist()]) == list(range(100))


def test_stratified_subsets_hand_out_the_largest_remainders():
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    assert labels[stratified_subset(labels, 3, key="k")].bincount().tolist() == [1, 1, 1]


def test_load_dataset_can_change_threat_and_augmentation():
    data = load_dataset("digits", threat_eps=0.1, augmentation="none")
    assert (data.threat_eps, data.augmentation) == (0.1, "none")


def test_an_unknown_dataset_gets_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'cifar10'\?; allowed: .*digits.*folder:PATH"):
        load_dataset("cifar-10")


def test_importing_the_package_imports_no_torch():
    heavy = "{'torch', 'numpy', 'sklearn', 'pydantic'}"
    code = f"import sys, apx.datasets, apx.architectures; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_users_dataset_factory(tmp_path, monkeypatch):
    (tmp_path / "their_data.py").write_text(
        "from apx.datasets import load_dataset\n"
        "def make(data_dir):\n    return load_dataset('digits', data_dir)\n"
        "def wrong():\n    return [1]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_dataset("py:their_data:make").num_classes == 10
    with pytest.raises(UserError, match="gave a list"):
        load_dataset("py:their_data:wrong")


# -- a user's own loaders ---------------------------------------------------------------------------------------------


def own_loader(count: int = 10, **options) -> DataLoader:
    return DataLoader(TensorDataset(images(count).float() / 255, torch.arange(count) % 3), batch_size=4, **options)


def test_loaders_become_a_dataset_in_their_datasets_order():
    data = from_loaders(own_loader(shuffle=True, drop_last=True), own_loader(6), threat_eps=0.1)
    assert torch.equal(data.train.images, images(10))
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert (data.num_classes, len(data.val), data.threat_eps) == (3, 6, 0.1)


def test_a_sampler_that_chooses_is_respected():
    data = from_loaders(own_loader(sampler=SubsetRandomSampler([0, 4, 5])), own_loader())
    assert sorted(data.train.labels.tolist()) == [0, 1, 2]


def test_tensors_and_lists_of_batches_are_sources_too():
    batches = [(images(4), torch.arange(4)), (images(2), torch.arange(2))]
    data = from_loaders((images(5), torch.arange(5)), batches, (images(3), torch.arange(3)), num_classes=7)
    assert (len(data.train), len(data.val), len(data.test), data.num_classes) == (5, 6, 3, 7)
    assert data.test.labels.tolist() == [0, 1, 2]


def test_a_test_loader_is_not_read():
    class Unreadable(TensorDataset):
        def __getitem__(self, index):
            raise AssertionError("the test split was read")

    data = from_loaders(own_loader(), own_loader(), DataLoader(Unreadable(images(4), torch.arange(4)), batch_size=2))
    assert len(data.test) == 4
    with pytest.raises(AssertionError, match="was read"):
        _ = data.test.labels


def test_without_test_data_touching_it_is_explained():
    data = from_loaders(own_loader(), own_loader())
    with pytest.raises(UserError, match="no test data"):
        _ = data.test.images


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ((images(3).float(), torch.arange(3)), "leave normalisation to the model"),
        ((torch.full((2, 3, 8, 8), float("nan")), torch.arange(2)), "not uint8 or floats in [0, 1]"),
        ((images(3), torch.tensor([0.0, 1.0, 2.0])), "one integer from 0 per image"),
        ((images(3), torch.tensor([-1, 0, 1])), "one integer from 0 per image"),
        ((images(3), torch.tensor([0, 1, 5])), "label 5 is not allowed with num_classes=3"),
        ([images(3)], "batches of (images, labels)"),
        ([], "batches of (images, labels)"),
        ((torch.zeros(3, 8, 8), torch.arange(3)), "should be [N, C, H, W]"),
    ],
)
def test_wrong_sources_are_explained(train, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        from_loaders(train, own_loader(), num_classes=3)


def test_normalisation_is_recorded():
    data = from_loaders(own_loader(), own_loader(), normalisation=Normalisation((0.5,) * 3, (0.25,) * 3))
    assert data.describe()["normalisation"] == {"mean": [0.5] * 3, "std": [0.25] * 3}
