import dataclasses

import pytest
import torch

from apx.datasets import Dataset, Split, epoch_batches, ordered_batches, to_float
from apx.datasets.augmentation import POLICIES, augment


def toy(count: int = 11, augmentation: str = "crop_flip") -> Dataset:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    split = Split(pixels, torch.arange(count) % 3)
    return Dataset("toy", split, split, split, num_classes=3, threat_eps=0.1, augmentation=augmentation)


def epoch(data: Dataset, **options):
    settings = {"batch_size": 4, "seed": 1, "epoch": 0, **options}
    return list(epoch_batches(data, data.train, **settings))


def joined(batches):
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def by_sample(batches):
    """Images in the order of their indices, whatever batch they came in."""
    images, _, indices = joined(batches)
    return images[indices.argsort()]


def test_an_epoch_gives_each_sample_once_with_its_label():
    data = toy()
    batches = epoch(data)
    images, labels, indices = joined(batches)
    assert [len(batch[1]) for batch in batches] == [4, 4, 3]
    assert sorted(indices.tolist()) == list(range(11))
    assert torch.equal(labels, data.train.labels[indices])
    assert images.dtype == torch.float32
    assert indices.dtype == torch.int64
    assert 0 <= images.min() <= images.max() <= 1


def test_the_same_key_gives_the_same_bits_and_another_does_not():
    data = toy()
    first, again = joined(epoch(data)), joined(epoch(data))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in ({"seed": 2}, {"epoch": 1}):
        assert not torch.equal(first[2], joined(epoch(data, **other))[2])
        assert not torch.equal(by_sample(epoch(data)), by_sample(epoch(data, **other)))


def test_the_batch_size_does_not_change_a_sample():
    data = toy()
    assert torch.equal(joined(epoch(data))[0], joined(epoch(data, batch_size=7))[0])


def test_the_global_generators_are_left_alone():
    state = torch.get_rng_state()
    epoch(toy())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_a_resumed_epoch_is_the_tail_of_the_whole(start):
    whole, tail = epoch(toy()), epoch(toy(), start_batch=start)
    assert len(tail) == 3 - start
    for expected, got in zip(whole[start:], tail, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


def test_drop_last_leaves_the_ragged_batch_out():
    assert [len(labels) for _, labels, _ in epoch(toy(), drop_last=True)] == [4, 4]
    assert len(epoch(toy(), drop_last=True, start_batch=1)) == 1


def test_without_augmentation_images_are_the_stored_ones():
    data = toy()
    assert torch.equal(by_sample(epoch(data, augment=False)), to_float(data.train.images))
    assert torch.equal(by_sample(epoch(dataclasses.replace(data, augmentation="none"))), to_float(data.train.images))


def test_batches_in_order_are_not_augmented():
    data = toy()
    images, labels, indices = joined(ordered_batches(data.val, batch_size=4, n=6))
    assert torch.equal(images, to_float(data.val.images[:6]))
    assert torch.equal(labels, data.val.labels[:6])
    assert indices.tolist() == list(range(6))


def crops(image: torch.Tensor, pad: int, flip: bool) -> list[torch.Tensor]:
    """Every crop of the zero-padded image, and its mirror image."""
    padded, (height, width) = torch.nn.functional.pad(image, [pad] * 4), image.shape[-2:]
    found = [
        padded[:, top : top + height, left : left + width] for top in range(2 * pad + 1) for left in range(2 * pad + 1)
    ]
    return found + [crop.flip(-1) for crop in found] if flip else found


@pytest.mark.parametrize("name", ["shift", "crop_flip"])
def test_each_augmented_image_is_a_crop_and_all_offsets_occur(name):
    policy, image = POLICIES[name], toy(1).train.images[0]
    possible = {bytes(crop.flatten().tolist()) for crop in crops(image, policy.pad, policy.flip)}
    count = 2000
    seen = augment(image.expand(count, -1, -1, -1), torch.arange(count), policy, seed=0, epoch=0)
    assert {bytes(crop.flatten().tolist()) for crop in seen} == possible
    assert (seen.dtype, seen.is_contiguous()) == (torch.uint8, True)


def test_half_of_the_images_are_mirrored():
    image = toy(1).train.images[0]
    seen = augment(image.expand(2000, -1, -1, -1), torch.arange(2000), POLICIES["crop_flip"], seed=0, epoch=0)
    plain = {bytes(crop.flatten().tolist()) for crop in crops(image, 4, flip=False)}
    mirrored = sum(bytes(crop.flatten().tolist()) not in plain for crop in seen)
    assert 900 < mirrored < 1100


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="positive"):
        epoch(toy(), batch_size=0)
