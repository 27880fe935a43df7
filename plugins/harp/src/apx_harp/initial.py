"""The rates with which the search starts (the official `configs/strategies.json`)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from apx.selection import keep_highest_global
from apx.specifics import ERK
from apx.specifics import Weights as SingleWeights


def initial_rates(start: str, weights: Mapping[str, Tensor], rate: float) -> dict[str, float]:
    """Return weight name -> share kept: `rate` alike in all layers, or in total with the shares of ERK or LAMP."""
    if start == "uniform":
        return dict.fromkeys(weights, rate)
    sizes = {name: weight.numel() for name, weight in weights.items()}
    if start == "erk":
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        kept = ERK().kept(shapes, 1 - rate, SingleWeights())
    else:
        scores = {name: lamp(weight) for name, weight in weights.items()}
        masks = keep_highest_global(scores, round(rate * sum(sizes.values())))
        kept = {name: int(mask.sum()) for name, mask in masks.items()}
    return {name: kept[name] / sizes[name] for name in weights}


def lamp(weight: Tensor) -> Tensor:
    """Return LAMP scores, w^2 over the sum of the squares of all weights not smaller (Lee et al., ICLR 2021, eq. 2)."""
    squares = weight.detach().double().square().flatten()
    order = squares.argsort(stable=True)
    ranked = squares[order]
    remaining = ranked.flip(0).cumsum(0).flip(0).clamp(min=torch.finfo(torch.float64).tiny)
    return torch.empty_like(squares).scatter_(0, order, ranked / remaining).view_as(weight)
