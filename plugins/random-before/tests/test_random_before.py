"""Random pruning at initialisation: masks follow the seed, and training moves none of them."""

from collections.abc import Callable
from typing import Any

import pytest

from apx import MaskedModel, Observer
from apx.masks import count_zeros

Maker = Callable[..., Any]
FAST = {"train.epochs": 1, "train.steps": 1, "train.batch_size": 8}


class Digests(Observer):
    """Keeps the masks' digest after each step."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.seen.add(model.masks.digest())


@pytest.mark.parametrize("choice", [{}, {"budget": "fixed-nonuniform"}, {"locality": "G"}])
def test_masks_follow_the_seed_and_stand_still(trial: Maker, choice: dict[str, str]) -> None:
    found = []
    for seed in (0, 0, 1):
        steps = Digests()
        made = trial("random-before", seed=seed, set=FAST, observers=[steps], **choice)
        made.execute()
        assert steps.seen == {made.model.masks.digest()}
        found.append(made.model.masks.digest())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_counts_are_exact(trial: Maker, sparsity: float) -> None:
    made = trial("random-before", sparsity=sparsity, set=FAST)
    made.execute()
    for mask in made.model.masks.values():
        assert int((~mask).sum()) == int(sparsity * mask.numel() + 1e-9)
    zeros, total = count_zeros(trial("random-before", sparsity=sparsity, locality="G", set=FAST).execute())
    assert zeros == round(sparsity * total)
