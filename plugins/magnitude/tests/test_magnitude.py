"""Magnitude pruning: top |w| per layer or globally, ERK's worked example, rounds that nest, whole filters."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from apx import MaskedModel, Observer
from apx.masks import Masks, count_zeros, weight_names
from apx_magnitude.method import MagnitudePruningSettings

Maker = Callable[..., Any]
FAST = {f"{phase}.{name}": 1 for phase in ("pretrain", "finetune") for name in ("epochs", "steps")}
FAST |= {f"{phase}.batch_size": 8 for phase in ("pretrain", "finetune")}


class Phases(Observer):
    """Keeps weights and masks as each phase leaves them."""

    def __init__(self) -> None:
        self.weights: dict[str, dict[str, torch.Tensor]] = {}
        self.masks: dict[str, Masks] = {}

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        self.weights[phase] = {name: model.fold(name).clone() for name in weight_names(model.module)}
        self.masks[phase] = model.masks


def kept(masks: Masks) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_each_layer_keeps_its_largest_weights(trial: Maker, sparsity: float) -> None:
    seen = Phases()
    made = trial("magnitude", sparsity=sparsity, set=FAST, observers=[seen])
    made.execute()
    for name, weight in seen.weights["pretrain"].items():
        count = weight.numel() - int(sparsity * weight.numel() + 1e-9)
        top = weight.abs().flatten().topk(count).indices.sort().values
        assert torch.equal(made.model.masks[name].flatten().nonzero().flatten(), top)


def test_erk_worked_example(trial: Maker) -> None:
    """Two layers of 288 and 320 weights: 60.8 go round as 18 : 42, the sums of their shapes."""
    net = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.Linear(32, 10))
    made = trial("magnitude", budget="fixed-nonuniform", net=net)
    with made.run.targeting(0.9):
        assert kept(made.method.prune(made.model, made.run)) == {"0.weight": 18, "1.weight": 43}


def test_erk_leaves_what_would_be_denser_than_dense(trial: Maker) -> None:
    """8 + 4800 weights at half density: the first layer is capped, the rest carries 2404 - 8."""
    net = nn.Sequential(nn.Linear(4, 2), nn.Linear(80, 60))
    made = trial("magnitude", budget="fixed-nonuniform", net=net)
    with made.run.targeting(0.5):
        assert kept(made.method.prune(made.model, made.run)) == {"0.weight": 8, "1.weight": 2396}


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_one_global_ranking_is_met_exactly(trial: Maker, sparsity: float) -> None:
    seen = Phases()
    made = trial("magnitude", sparsity=sparsity, locality="G", set=FAST, observers=[seen])
    zeros, total = count_zeros(made.execute())
    assert zeros == round(sparsity * total)
    weights, masks = seen.weights["pretrain"], made.model.masks
    removed = max(float(weights[n][~masks[n]].abs().max()) for n in masks if not masks[n].all())
    stays = min(float(weights[n][masks[n]].abs().min()) for n in masks if masks[n].any())
    assert removed <= stays


@pytest.mark.parametrize("locality", ["L", "G"])
def test_rounds_nest_on_the_geometric_schedule(trial: Maker, locality: str) -> None:
    seen = Phases()
    settings = {**FAST, "rounds": 3}
    made = trial("magnitude", sparsity=0.875, schedule="IT", locality=locality, set=settings, observers=[seen])
    assert made.run.targets() == pytest.approx([0.5, 0.75, 0.875])
    zeros, total = count_zeros(made.execute())
    rounds = [seen.masks[phase] for phase in ("round-1/retrain", "round-2/retrain", "finetune")]
    for target, masks in zip(made.run.targets(), rounds, strict=True):
        assert total - sum(kept(masks).values()) == pytest.approx(target * total, abs=len(masks))
    for earlier, later in pairwise(rounds):
        assert all(not (later[name] & ~earlier[name]).any() for name in later)
    assert zeros == pytest.approx(0.875 * total, abs=3)


def test_filters_of_smallest_l1_norm_go_with_their_batch_norm(trial: Maker) -> None:
    seen = Phases()
    made = trial("magnitude", structure="S", set=FAST, observers=[seen])
    plain = made.execute()
    for conv, norm in (("0", "1"), ("3", "4")):
        norms = seen.weights["pretrain"][f"{conv}.weight"].abs().flatten(1).sum(dim=1)
        best = norms.topk(len(norms) // 2).indices.sort().values
        alive = plain.get_parameter(f"{conv}.weight").flatten(1).any(dim=1)
        assert torch.equal(alive.nonzero().flatten(), best)
        assert torch.equal(plain.get_parameter(f"{norm}.bias") != 0, alive)
        assert not plain.get_buffer(f"{norm}.running_mean")[~alive].any()
    assert bool((plain.get_parameter("8.weight") != 0).all())


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_the_dense_network_is_hydras(trial: Maker, preset: str) -> None:
    made = [trial(slug, preset=preset).method.settings for slug in ("magnitude", "hydra", "random")]
    assert made[0].pretrain == made[1].pretrain == made[2].pretrain
    assert made[0].finetune == made[1].finetune == made[2].finetune


def test_every_setting_is_described() -> None:
    assert all(field.description for field in MagnitudePruningSettings.model_fields.values())
