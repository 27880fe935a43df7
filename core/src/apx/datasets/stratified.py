"""Fixed stratified subsets, the same on every machine and with every version of every library."""

import hashlib

import torch
from torch import Tensor


def stratified_subset(labels: Tensor, count: int, *, key: str) -> Tensor:
    """Choose `count` positions with the classes in proportion (largest remainders, ties to the lower label).

    Within a class the positions with the smallest SHA-256 of (key, position) are taken, so that no generator's
    implementation matters.

    Args:
        labels: int64 [N].
        count: how many of the N to choose.
        key: what the subset is for; it stands for a seed.

    Returns:
        int64 [count], ascending.
    """
    classes, sizes = labels.unique(return_counts=True)
    quotas = _largest_remainders([count * int(size) for size in sizes], len(labels), count)
    chosen: list[int] = []
    for label, quota in zip(classes.tolist(), quotas, strict=True):
        members = (labels == label).nonzero().flatten().tolist()
        chosen += sorted(members, key=lambda position: _rank(key, position))[:quota]
    return torch.tensor(sorted(chosen), dtype=torch.int64)


def complement(chosen: Tensor, total: int) -> Tensor:
    """Return the positions of range(total) that are not in `chosen`; int64, ascending."""
    rest = torch.ones(total, dtype=torch.bool)
    rest[chosen] = False
    return rest.nonzero().flatten()


def _largest_remainders(numerators: list[int], denominator: int, count: int) -> list[int]:
    quotas = [numerator // denominator for numerator in numerators]
    by_remainder = sorted(range(len(quotas)), key=lambda i: (-(numerators[i] % denominator), i))
    for i in by_remainder[: count - sum(quotas)]:
        quotas[i] += 1
    return quotas


def _rank(key: str, position: int) -> bytes:
    return hashlib.sha256(f"{key}:{position}".encode()).digest()
