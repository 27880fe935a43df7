"""Training augmentation on the device, a whole batch at once, keyed per sample."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from apx.randomness import keyed_uniform


@dataclass(frozen=True)
class Policy:
    """Random crops out of the image padded with `pad` zero pixels, and a horizontal flip of every second image."""

    pad: int
    flip: bool


POLICIES = {
    "none": Policy(pad=0, flip=False),
    "crop_flip": Policy(pad=4, flip=True),  # CIFAR's and, in the official code, SVHN's
    "shift": Policy(pad=1, flip=False),  # digits: a mirrored 2 is not a 2
}


def augment(images: Tensor, indices: Tensor, policy: Policy, *, seed: int, epoch: int) -> Tensor:
    """Crop and flip each image as (seed, epoch, its index) says.

    Args:
        images: any dtype [B, C, H, W].
        indices: int64 [B], the samples' positions in their split, on the device of `images`.
        policy: what to do.
        seed: the run's seed.
        epoch: the epoch.

    Returns:
        Tensor like `images`; which batch a sample sits in does not change it.
    """
    if policy == POLICIES["none"]:
        return images
    height, width = images.shape[-2:]
    draw = keyed_uniform(seed, "augmentation", indices, (3,), epoch=epoch)
    top, left = (draw[:, :2] * (2 * policy.pad + 1)).long().unbind(1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    if policy.flip:
        columns = torch.where(draw[:, 2:] < 0.5, columns.flip(1), columns)
    padded = functional.pad(images, [policy.pad] * 4)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    # one gather for crop and flip; indexing [b, :, row, column] puts the channels last
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
