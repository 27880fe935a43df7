"""RADMM against its official code and the later fork of it: projections, masks, both trained phases, learning rates."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from testing_support import four_layers, part
from torch import Tensor
from torch.nn import functional

from apx import Masks
from apx.admm import ADMM, energy, project
from apx.runner.request import Request, build_settings
from apx.selection import pruned_count
from apx.specifics import Local, structure_of
from apx.training.optimisation import learning_rate
from apx_radmm.method import Radmm, RadmmSettings
from apx_radmm.percentile import Percentile, project_at_percentile

Maker = Callable[..., Any]
SGD = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
RESTARTED = {"lr_schedule": "step", "lr_period": 2, "milestones": (1 / 3, 2 / 3)}
CASES = [
    *(("projections-original", one) for one in ("weights", "filters", "columns")),
    ("projections-fork", "channels"),
]
LAYERS = ("conv", "pointwise", "linear")
RUNS = {  # trajectories: variant, sparsity, layers left dense
    "weights": ({"structure": "US"}, 0.6, []),
    "filters": ({"granularity": "filters"}, 0.45, []),
    "channels": ({"granularity": "channels"}, 0.45, ["stem"]),
}


# -- projections and masks ----------------------------------------------------------------------------------------


def cut(weight: Tensor, granularity: str, sparsity: float, locality: Local) -> Tensor:
    structure = structure_of(granularity)
    scores = {"w": structure.reduce(energy(weight))}
    units = locality.select(scores, {"w": tuple(weight.shape)}, sparsity, structure)
    return structure.expand(units["w"], weight.shape)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("sparsity", [0.5, 0.7])
@pytest.mark.parametrize("case", ["plain", "ties"])
@pytest.mark.parametrize(("file", "granularity"), CASES)
def test_projections_and_masks(
    golden: Maker, file: str, granularity: str, case: str, sparsity: float, layer: str
) -> None:
    tensors, _ = golden(file)
    weight, expected = tensors[f"{case}/{layer}"], part(tensors, f"{case}/{layer}/{granularity}/{sparsity}/")
    assert torch.equal(cut(weight, granularity, sparsity, Percentile()), expected["mask"])
    assert torch.equal(project_at_percentile(weight, structure_of(granularity), sparsity), expected["z"])


@pytest.mark.parametrize("sparsity", [0.5, 0.7])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("file", "granularity"), CASES)
def test_exact_counts_are_at_most_one_above_the_official_ones(
    golden: Maker, file: str, granularity: str, layer: str, sparsity: float
) -> None:
    """A unit at the percentile is neither pruned nor trained by the official code: here it is kept and trained."""
    tensors, _ = golden(file)
    weight, structure = tensors[f"plain/{layer}"], structure_of(granularity)
    official = tensors[f"plain/{layer}/{granularity}/{sparsity}/mask"]
    ours = cut(weight, granularity, sparsity, Local())
    assert not (official & ~ours).any()
    kept = [int(structure.reduce(mask.double()).gt(0).sum()) for mask in (ours, official)]
    total = structure.count(weight.shape)
    assert kept[0] == total - pruned_count(sparsity, total)
    assert 0 <= kept[0] - kept[1] <= 1


def test_exact_counts_hold_where_the_official_ones_do_not(golden: Maker) -> None:
    """Of equal weights the official code keeps all in the projection, and none in the mask."""
    tensors, _ = golden("projections-original")
    weight, expected = tensors["ties/conv"], part(tensors, "ties/conv/weights/0.7/")
    assert int((expected["z"] != 0).sum()) > weight.numel() - int(0.7 * weight.numel()) > int(expected["mask"].sum())
    kept = weight.numel() - int(0.7 * weight.numel())
    assert int((project(weight, structure_of("weights"), kept) != 0).sum()) == kept
    assert int(cut(weight, "weights", 0.7, Local()).sum()) == kept


# -- the trained phases -------------------------------------------------------------------------------------------


def trained(trial: Maker, given_steps: Maker, tensors: dict[str, Tensor], name: str, fidelity: str) -> Any:
    """Train five epochs of one given batch each under ADMM, updated in epochs 2 and 4."""
    variant, sparsity, dense = RUNS[name]
    settings = {"prune.epochs": 0, "fidelity": fidelity, "leave_dense": dense}
    made = trial("radmm", sparsity=sparsity, net=four_layers(1, classes=3, bias=True), set=settings, **variant)
    made.model.module.load_state_dict(part(tensors, "initial/"))
    official = fidelity == "official"
    with made.run.targeting(sparsity):
        admm = ADMM(
            made.method.constrained(made.model, made.run),
            made.method.projection(made.model, made.run),
            interval=2,
            rho=0.05,
            growth=1.3,
            attached_duals=official,
        )
    x, y = tensors["x"], tensors["y"]
    losses = [lambda model, n=n: functional.cross_entropy(model(x[n]), y[n]) for n in range(5)]
    settings = {"epochs": 5, **SGD, **RESTARTED}
    steps = given_steps(made.model, x[:1], y[:1], settings, dynamics=admm, losses=losses)
    with made.run.targeting(sparsity):
        masks: Masks = made.method.prune(made.model, made.run)  # no epochs of its own: the cut alone
    return made, admm, steps, masks


def assert_state(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(state[f"module.{name}"], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", list(RUNS))
def test_steps_of_admm_and_of_the_masked_training(trial: Maker, golden: Maker, given_steps: Maker, name: str) -> None:
    tensors, _ = golden(f"trajectory-{name}")
    made, admm, steps, masks = trained(trial, given_steps, tensors, name, "official")
    for number, (loss, state) in enumerate(steps):
        torch.testing.assert_close(loss, float(tensors[f"loss-{number}"]), rtol=1e-4, atol=1e-6)
        assert_state(state, part(tensors, f"step-{number}/"))
    assert admm.rho == pytest.approx(float(tensors["rho"]))
    for layer, z in part(tensors, "z/").items():
        torch.testing.assert_close(admm.z[layer], z, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(admm.u[layer], tensors[f"u/{layer}"], rtol=1e-4, atol=1e-6)
    expected = part(tensors, "mask/")
    assert set(masks) == set(expected)
    assert all(torch.equal(masks[layer], mask) for layer, mask in expected.items())
    made.model.set_masks(masks)
    steps = given_steps(made.model, tensors["x"][:3], tensors["y"][:3], {**SGD, "lr_schedule": "constant"})
    assert_state(steps[-1][1], part(tensors, "retrain-2/"))


@pytest.mark.parametrize("name", list(RUNS))
def test_duals_without_history_pull_less(trial: Maker, golden: Maker, given_steps: Maker, name: str) -> None:
    tensors, _ = golden(f"trajectory-{name}")
    _, admm, steps, _ = trained(trial, given_steps, tensors, name, "paper")
    official = part(tensors, "step-4/")
    assert admm.rho == pytest.approx(float(tensors["rho"]))
    assert any(
        not torch.allclose(steps[-1][1][f"module.{layer}"], official[layer], rtol=1e-2, atol=1e-4) for layer in admm.z
    )


# -- learning rates -----------------------------------------------------------------------------------------------


def test_learning_rates_of_the_finetuning(golden: Maker) -> None:
    """The official warm-up rises with every batch (ten an epoch in the golden file), here with every epoch."""
    tensors, _ = golden("rates")
    finetune = RadmmSettings().finetune
    ours = [learning_rate(finetune, epoch) for epoch in range(100)]
    expected = tensors["cifar10"].tolist()
    assert ours[15:] == pytest.approx(expected[15:])
    assert ours[:15] == pytest.approx(expected[:15], abs=(0.01 - 1e-4) / 15 / 10 + 1e-9)
    assert expected[94] == pytest.approx(0.01)
    assert expected[95] == pytest.approx(0.001)


def test_learning_rates_of_the_finetuning_on_svhn(golden: Maker) -> None:
    settings = build_settings(Radmm, Request("radmm", dataset="svhn", preset="paper"))
    expected = golden("rates")[0]["svhn"].tolist()
    assert [learning_rate(settings.finetune, epoch) for epoch in range(100)] == pytest.approx(expected)
