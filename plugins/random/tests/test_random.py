"""Random pruning: masks follow the seed, counts are exact, filters go whole."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from apx.masks import Masks, count_zeros, weight_names

Maker = Callable[..., Any]
FAST = {f"{phase}.{name}": 1 for phase in ("pretrain", "finetune") for name in ("epochs", "steps")}
FAST |= {f"{phase}.batch_size": 8 for phase in ("pretrain", "finetune")}


def masks(trial: Maker, **choice: Any) -> Masks:
    made = trial("random", set=FAST, **choice)
    made.execute()
    return made.model.masks


@pytest.mark.parametrize("choice", [{}, {"budget": "fixed-nonuniform"}, {"locality": "G"}, {"structure": "S"}])
def test_masks_follow_the_seed_and_nothing_else(trial: Maker, choice: dict[str, str]) -> None:
    first, again, other = (masks(trial, seed=seed, **choice) for seed in (0, 0, 1))
    assert first.digest() == again.digest()
    assert first.digest() != other.digest()


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_each_layer_loses_the_same_share(trial: Maker, sparsity: float) -> None:
    for mask in masks(trial, sparsity=sparsity).values():
        assert int((~mask).sum()) == int(sparsity * mask.numel() + 1e-9)


def test_the_global_count_is_exact(trial: Maker) -> None:
    zeros, total = count_zeros(trial("random", sparsity=0.9, locality="G", set=FAST).execute())
    assert zeros == round(0.9 * total)


def test_weights_do_not_matter(trial: Maker) -> None:
    made, scaled = trial("random"), trial("random")
    with torch.no_grad():
        for name in weight_names(scaled.model.module):
            scaled.model.module.get_parameter(name).mul_(-3.0)
    digests = []
    for one in (made, scaled):
        with one.run.targeting(0.5):
            digests.append(one.method.prune(one.model, one.run).digest())
    assert digests[0] == digests[1]


def test_filters_go_whole(trial: Maker) -> None:
    found = masks(trial, structure="S")
    for name, kept in (("0.weight", 3), ("3.weight", 4)):
        rows = found[name].flatten(1)
        assert torch.equal(rows.any(dim=1), rows.all(dim=1))
        assert int(rows.all(dim=1).sum()) == kept
