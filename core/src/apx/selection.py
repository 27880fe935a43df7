"""From scores to masks with exact counts: the highest scores are kept.

Tie rule, everywhere: among equal scores the entry that comes first (layer order, then row-major index) is pruned
first. A partial selection does the work: only on a GPU, where selecting is not deterministic, scores are sorted.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

SAMPLED_FROM = 1_000_000
"""Scores from which a sample says where a rank lies, so that nearly all of them are only compared."""
SAMPLE = 100_000
SORTED_ON = {"cuda"}
"""Devices that sort faster than they answer: a mask by sorting asks one answer of them, one by a threshold three."""
SORTED_UP_TO = 20_000_000
"""Scores that are sorted whole, which takes some 24 bytes for each."""


def pruned_count(sparsity: float, total: int) -> int:
    """Return floor(sparsity * total), safe against float noise (0.1 * 10 counts as 1)."""
    return int(round(sparsity * total, 9))


def keep_highest(scores: Tensor, kept: int) -> Tensor:
    """Return a bool mask, shape of `scores`, that is True at exactly `kept` highest entries.

    Raises:
        ValueError: `kept` is outside [0, number of scores], or a score is NaN.
    """
    flat = scores.detach().reshape(-1)
    total = flat.numel()
    if not 0 <= kept <= total:
        raise ValueError(f"cannot keep {kept} of {total} scores")
    if kept == 0 or kept == total:
        return torch.full(scores.shape, kept == total, dtype=torch.bool, device=scores.device)
    if flat.device.type in SORTED_ON and total <= SORTED_UP_TO:
        _refuse_nan(flat)
        highest = flat.argsort(stable=True)[total - kept :]
        return torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, highest, True).view(scores.shape)
    threshold = order_statistic(flat, total - kept)
    mask = flat > threshold
    missing = kept - int(torch.count_nonzero(mask))  # `sum` would make integers of all of them first
    if missing:
        tied = (flat == threshold).nonzero()[:, 0]
        mask[tied[len(tied) - missing :]] = True
    return mask.view(scores.shape)


def keep_highest_global(scores: Mapping[str, Tensor], kept: int, *, at_least: int = 0) -> dict[str, Tensor]:
    """Rank all layers' scores in one list and keep the `kept` highest.

    Args:
        scores: layer name -> scores of any shape.
        kept: how many entries to keep in total.
        at_least: entries that each layer keeps whatever its rank (its own highest); the total stays exact.

    Returns:
        layer name -> bool mask of the scores' shape.
    """
    flat = torch.cat([score.detach().reshape(-1) for score in scores.values()])
    if at_least:
        protected = [keep_highest(s.reshape(-1), min(at_least, s.numel())) for s in scores.values()]
        guarded = flat.to(torch.float64).masked_fill(torch.cat(protected), float("inf"))
        kept = max(kept, sum(min(at_least, s.numel()) for s in scores.values()))
        mask = keep_highest(guarded, kept)
    else:
        mask = keep_highest(flat, kept)
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def above_percentile(scores: Tensor, sparsity: float) -> Tensor:
    """Return 1[s > the 100 sparsity-th percentile], numpy's linear interpolation: how much official code prunes.

    Of n distinct scores n - 1 - floor(sparsity (n - 1)) stay, up to one off `keep_highest`'s count; of scores tied at
    the percentile none.
    """
    flat = scores.detach().reshape(-1)
    rank = pruned_count(sparsity, flat.numel() - 1) + 1  # what lies above it lies above the interpolated value as well
    return (flat > order_statistic(flat, rank)).view(scores.shape)


def order_statistic(scores: Tensor, rank: int) -> Tensor:
    """Return the `rank`-th smallest of `scores` (1-based) as a 0-dim tensor.

    Raises:
        ValueError: a score is NaN.
    """
    flat = scores.detach().reshape(-1)
    _refuse_nan(flat)
    if flat.numel() > SAMPLED_FROM:
        low, high = _bounds(flat, rank)
        below = int(torch.count_nonzero(flat < low))
        band = flat[(flat >= low) & (flat <= high)]
        if below < rank <= below + band.numel():
            return _smallest(band, rank - below)
    return _smallest(flat, rank)


def _refuse_nan(scores: Tensor) -> None:
    """Raise ValueError if a score is NaN."""
    if torch.isnan(scores).any():
        raise ValueError("a score is NaN: the ranking would be meaningless")


def _bounds(flat: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return two scores between which the `rank`-th smallest nearly always lies: a sample's, ten deviations apart."""
    sample = flat[:: flat.numel() // SAMPLE].sort().values
    count, share = sample.numel(), rank / flat.numel()
    margin = 5 * math.sqrt(count * share * (1 - share)) + 2
    places = (max(0, int(share * count - margin)), min(count - 1, int(share * count + margin)))
    return sample[places[0]], sample[places[1]]


def _smallest(flat: Tensor, rank: int) -> Tensor:
    """Return the `rank`-th smallest by selection, without keeping what that works on."""
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        import numpy

        # introselect of a copy: about a third of kthvalue's time at ten million scores
        return torch.from_numpy(numpy.partition(flat.numpy(), rank - 1)[rank - 1 : rank].copy())[0]
    if flat.device.type == "cuda":  # kthvalue has no deterministic version there
        return flat.sort().values[rank - 1]
    return flat.kthvalue(rank).values
