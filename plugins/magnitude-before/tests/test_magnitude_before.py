"""Magnitude pruning at initialisation: the initial |w| decide, and training moves no mask."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from apx import MaskedModel, Observer
from apx.masks import count_zeros, weight_names

Maker = Callable[..., Any]
FAST = {"train.epochs": 1, "train.steps": 1, "train.batch_size": 8}


class Digests(Observer):
    """Keeps the masks' digest after each step."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.seen.add(model.masks.digest())


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_the_initial_weights_decide(trial: Maker, sparsity: float) -> None:
    steps = Digests()
    made = trial("magnitude-before", sparsity=sparsity, set=FAST, observers=[steps])
    initial = {name: made.model.fold(name).abs().clone() for name in weight_names(made.model.module)}
    made.execute()
    for name, weight in initial.items():
        count = weight.numel() - int(sparsity * weight.numel() + 1e-9)
        top = weight.flatten().topk(count).indices.sort().values
        assert torch.equal(made.model.masks[name].flatten().nonzero().flatten(), top)
    assert steps.seen == {made.model.masks.digest()}


def test_the_global_count_is_exact(trial: Maker) -> None:
    zeros, total = count_zeros(trial("magnitude-before", sparsity=0.9, locality="G", set=FAST).execute())
    assert zeros == round(0.9 * total)


def test_erk_worked_example(trial: Maker) -> None:
    """58.2 of 582 weights go round as 13 : 20 : 35, the sums of the layers' shapes."""
    made = trial("magnitude-before", sparsity=0.9, budget="fixed-nonuniform", set=FAST)
    made.execute()
    assert [int(mask.sum()) for mask in made.model.masks.values()] == [11, 17, 30]
