"""Randomness keyed by what it is for, so that batch split, resume and number of processes never change it.

A counter-based generator (the SplitMix64 finaliser, Steele et al., OOPSLA 2014) maps (seed, purpose, epoch, sample
index, element) to a number. Nothing is consumed from a stream, hence nothing has to be stored in a checkpoint.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def derive_seed(seed: int, *words: str | int) -> int:
    """Return a 63-bit seed determined by `seed` and `words`, the same on every machine."""
    text = "\x1f".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def keyed_uniform(seed: int, purpose: str, indices: Tensor, shape: Sequence[int], *, epoch: int = 0) -> Tensor:
    """Draw uniform numbers that depend on each sample's index, not on the batch it sits in.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for; different purposes give independent numbers.
        indices: int64 [B], the samples' positions in their split.
        shape: shape of one sample's draw.
        epoch: the epoch, so that a sample sees fresh numbers each time.

    Returns:
        float32 [B, *shape] in [0, 1), on the device of `indices`.
    """
    bits = _keyed_bits(derive_seed(seed, purpose, epoch), indices, math.prod(shape))
    return (((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24).view(len(indices), *shape)


def keyed_normal(seed: int, purpose: str, indices: Tensor, shape: Sequence[int], *, epoch: int = 0) -> Tensor:
    """Draw standard normal numbers keyed like `keyed_uniform` (Box-Muller); float32 [B, *shape]."""
    radius = keyed_uniform(seed, purpose + "/radius", indices, shape, epoch=epoch)
    angle = keyed_uniform(seed, purpose + "/angle", indices, shape, epoch=epoch)
    return torch.sqrt(-2.0 * torch.log1p(-radius)) * torch.cos(2.0 * math.pi * angle)


def keyed_permutation(count: int, seed: int, purpose: str, *, epoch: int = 0) -> Tensor:
    """Return a permutation of `range(count)` (int64, CPU) that depends on the key alone."""
    generator = torch.Generator().manual_seed(derive_seed(seed, purpose, epoch))
    return torch.randperm(count, generator=generator)


def _keyed_bits(key: int, indices: Tensor, count: int) -> Tensor:
    """Return int64 [B, count] of mixed bits; arithmetic wraps modulo 2**64."""
    per_sample = _mix(indices.to(torch.int64) * _GOLDEN + key)
    counters = torch.arange(1, count + 1, device=indices.device, dtype=torch.int64) * _GOLDEN
    return _mix(per_sample[:, None] + counters)


def _mix(z: Tensor) -> Tensor:
    # torch shifts int64 arithmetically; the masks turn that into the logical shifts of the original
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX_1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return z ^ ((z >> 31) & 0x1FFFFFFFF)
