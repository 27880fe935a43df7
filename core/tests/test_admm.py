"""ADMM: projections, worked traces of weights, duplicates and duals, and what survives a kill."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apx import MaskedModel, Run, Variant
from apx.admm import ADMM, cut, project, sparse_projection
from apx.datasets import Dataset, Split
from apx.specifics import Structure, structure_of
from apx.training.dynamics import Position
from apx.training.objectives import Batch, Objective
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Hooks, Trainer

WORKED = [0.1, -0.2, 0.3, -0.4, 0.5]
WEIGHTS, FILTERS = structure_of("weights"), structure_of("filters")


# -- projection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "expected"), [(2, [0, 0, 0, -0.4, 0.5]), (3, [0, 0, 0.3, -0.4, 0.5])])
def test_the_largest_weights_stay(kept: int, expected: list[float]) -> None:
    weight = torch.tensor(WORKED)
    assert torch.equal(project(weight, WEIGHTS, kept), torch.tensor(expected))
    assert torch.equal(weight, torch.tensor(WORKED))  # not in place


@pytest.mark.parametrize(("kept", "rows"), [(2, {2, 3}), (3, {1, 2, 3})])
def test_the_filters_of_largest_norm_stay(kept: int, rows: set[int]) -> None:
    filters = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    norms = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    filters = norms * filters / filters.flatten(1).norm(dim=1).view(4, 1, 1, 1)
    projected = project(filters, FILTERS, kept)
    assert {row for row in range(4) if bool((projected[row] != 0).any())} == rows
    assert all(torch.equal(projected[row], filters[row]) for row in rows)


@pytest.mark.parametrize("granularity", ["weights", "filters", "channels", "columns"])
def test_nothing_as_sparse_is_nearer_than_the_projection(granularity: str) -> None:
    structure = structure_of(granularity)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 3, 2, 2, generator=generator)
    count = structure.count(weight.shape)
    projected = project(weight, structure, count // 2)
    assert torch.equal(project(projected, structure, count // 2), projected)
    nearest = (weight - projected).norm()
    for _ in range(50):
        other = torch.randperm(count, generator=generator) < count // 2
        mask = structure.expand(other.view(structure.unit_shape(weight.shape)), weight.shape)
        assert (weight - weight * mask).norm() >= nearest - 1e-6


# -- traces, by the real trainer ----------------------------------------------------------------------------------


class Nothing(Objective):
    """A loss of zero: what is left is the penalty."""

    name = "nothing"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return 0.0 * model(batch.x).sum()


class Noted(ADMM):
    """Notes weight, gradient and dual of each step."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.seen: list[dict[str, Tensor]] = []

    def after_backward(self, model: MaskedModel, batch: Batch, at: Position) -> None:
        weight = model.module.get_parameter("0.weight")
        assert weight.grad is not None
        values = {"w": weight.detach(), "grad": weight.grad, "z": self.z["0.weight"], "u": self.u["0.weight"]}
        self.seen.append({name: value.flatten().clone() for name, value in values.items()})


def two_of_five(name: str, weight: Tensor) -> Tensor:
    return project(weight, WEIGHTS, 2)


def trainer(epochs: int, dynamics: ADMM, *, samples: int = 4, hooks: Hooks | None = None) -> Trainer:
    network = nn.Sequential(nn.Linear(5, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([WORKED]))  # type: ignore[operator]
    settings = TrainSettings(
        epochs=epochs, batch_size=4, objective="nat", lr=0.1, momentum=0, weight_decay=0, lr_schedule="constant"
    )
    split = Split(torch.zeros(samples, 1, 1, 5, dtype=torch.uint8), torch.zeros(samples, dtype=torch.int64))
    environment = Environment(
        Dataset("rows", split, split, split, num_classes=2, threat_eps=0.1), 0, torch.device("cpu")
    )
    return Trainer(
        model=MaskedModel(network),
        settings=settings,
        environment=environment,
        phase="admm",
        objective=Nothing(settings, environment.threat(settings)),
        dynamics=dynamics,
        hooks=hooks or Hooks(),
    )


def trace(epochs: int, **settings: Any) -> Noted:
    dynamics = Noted(["0.weight"], two_of_five, **settings)
    trainer(epochs, dynamics).fit()
    return dynamics


def assert_step(seen: Mapping[str, Tensor], **expected: list[float]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(seen[name], torch.tensor(value, dtype=torch.float32), atol=1e-6, rtol=0)


def test_weights_duplicates_and_duals_follow_the_worked_trace() -> None:
    first, second, third = trace(3, interval=1, rho=1.0).seen
    assert_step(first, z=[0, 0, 0, -0.4, 0.5], u=[0] * 5, grad=[0.1, -0.2, 0.3, 0, 0])
    assert_step(second, w=[0.09, -0.18, 0.27, -0.4, 0.5], u=[0.09, -0.18, 0.27, 0, 0], grad=[0.18, -0.36, 0.54, 0, 0])
    assert_step(third, w=[0.072, -0.144, 0.216, -0.4, 0.5], z=[0, 0, 0.486, 0, 0.5], u=[0.162, -0.324, 0, -0.4, 0])
    assert_step(third, grad=[0.234, -0.468, -0.27, -0.8, 0])


def test_attached_duals_count_the_penalty_once_more_after_each_update() -> None:
    first, second, third = trace(3, interval=1, rho=1.0, attached_duals=True).seen
    assert_step(first, grad=[0.1, -0.2, 0.3, 0, 0])
    assert_step(second, w=[0.09, -0.18, 0.27, -0.4, 0.5], grad=[0.36, -0.72, 1.08, 0, 0])
    assert_step(third, w=[0.054, -0.108, 0.162, -0.4, 0.5])


def test_attached_duals_leave_the_penaltys_value() -> None:
    values = []
    for attached in (False, True):
        dynamics = ADMM(["0.weight"], two_of_five, interval=1, rho=1.0, attached_duals=attached)
        model = trainer(0, dynamics).model
        dynamics.restart(model)
        dynamics.update(model)
        values.append(float(dynamics.penalty(model).detach()))
    assert values[0] == values[1] == pytest.approx(4 * (0.1**2 + 0.2**2 + 0.3**2) / 2)


def test_a_dual_that_keeps_its_history_has_the_gradient_of_attached_ones() -> None:
    weight = torch.tensor(WORKED, requires_grad=True)
    u = torch.zeros(5)
    for _ in range(2):
        z = two_of_five("", (weight + u).detach())
        u = u + weight - z
    (0.5 * (weight - z + u).square().sum()).backward()
    dynamics = ADMM(["0.weight"], two_of_five, interval=1, rho=1.0, attached_duals=True)
    model = trainer(0, dynamics).model
    dynamics.restart(model)
    dynamics.update(model)
    dynamics.update(model)
    dynamics.penalty(model).backward()
    torch.testing.assert_close(model.module.get_parameter("0.weight").grad, weight.grad[None])  # type: ignore[index]


# -- when what happens --------------------------------------------------------------------------------------------


def test_rho_grows_at_each_update() -> None:
    assert trace(10, interval=1, rho=1e-3, growth=1.3).rho == pytest.approx(0.0106045, abs=1e-7)  # nine updates
    assert trace(10, interval=2, rho=1e-3, growth=1.3).rho == pytest.approx(1e-3 * 1.3**4)
    assert trace(10, interval=1, rho=1e-3, growth=1.3, largest_rho=5e-3).rho == 5e-3


def test_nothing_moves_until_the_first_interval_has_passed() -> None:
    seen = trace(7, interval=3, rho=1.0).seen
    for step in seen[:3]:
        assert_step(step, z=[0, 0, 0, -0.4, 0.5], u=[0] * 5)
    assert torch.equal(seen[3]["u"], seen[3]["w"] - seen[3]["z"])
    assert bool((seen[3]["u"] != 0).any())
    assert torch.equal(seen[3]["u"], seen[5]["u"])
    assert not torch.equal(seen[5]["u"], seen[6]["u"])
    assert all(int((step["z"] != 0).sum()) == 2 for step in seen)
    assert int((seen[-1]["w"] != 0).sum()) == 5


def test_an_epoch_of_several_batches_is_updated_once() -> None:
    dynamics = Noted(["0.weight"], two_of_five, interval=1, rho=1.0)
    trainer(3, dynamics, samples=12).fit()
    assert len(dynamics.seen) == 9
    assert dynamics.updates == 2


def test_renewal_projects_anew_in_each_epoch_and_keeps_the_dual() -> None:
    def loss_pulls_one_weight_up(dynamics: ADMM) -> list[Tensor]:
        model, zs = trainer(0, dynamics).model, []
        for epoch in range(3):
            dynamics.batch_start(model, None, Position(epoch, 0, 1))  # type: ignore[arg-type]
            zs.append(dynamics.z["0.weight"].flatten())
            with torch.no_grad():
                model.module.get_parameter("0.weight")[0, 0] += 0.35
        return zs

    kept = loss_pulls_one_weight_up(ADMM(["0.weight"], two_of_five, interval=9, rho=1.0))
    assert torch.equal(kept[2], kept[0])
    renewed = ADMM(["0.weight"], two_of_five, interval=9, rho=1.0, renew=True)
    zs = loss_pulls_one_weight_up(renewed)
    torch.testing.assert_close(zs[1], torch.tensor([0.45, 0, 0, 0, 0.5]))
    assert not renewed.u["0.weight"].any()
    updated = ADMM(["0.weight"], two_of_five, interval=2, rho=1.0, renew=True)
    zs = loss_pulls_one_weight_up(updated)  # the third epoch renews, then updates
    torch.testing.assert_close(zs[2], torch.tensor([0.8, 0, 0, 0, 0.5]))
    torch.testing.assert_close(updated.u["0.weight"], torch.tensor([[0, -0.2, 0.3, -0.4, 0]]))


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("killed_at", [(1, 0), (2, 2), (4, 1)])
def test_a_resumed_phase_ends_bitwise_the_same(attached: bool, killed_at: tuple[int, int]) -> None:
    states: dict[tuple[int, int], Any] = {}

    def keep(state: Mapping[str, Any]) -> None:
        states[state["epoch"], state["step"]] = copy.deepcopy(state)

    def start(hooks: Hooks | None = None) -> Trainer:
        dynamics = ADMM(["0.weight"], two_of_five, interval=2, rho=0.5, growth=1.3, attached_duals=attached)
        return trainer(6, dynamics, samples=12, hooks=hooks)

    whole = start(Hooks(save=keep, due=lambda: True))
    whole.fit()
    resumed = start()
    resumed.fit(states[killed_at])
    assert torch.equal(whole.model.module.get_parameter("0.weight"), resumed.model.module.get_parameter("0.weight"))
    assert torch.equal(whole.dynamics.state()["u"]["0.weight"], resumed.dynamics.state()["u"]["0.weight"])


# -- in a run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("granularity", "structure"), [("weights", "US"), ("columns", "S"), ("channels", "S")])
def test_the_cut_is_the_last_projection(granularity: str, structure: str) -> None:
    torch.manual_seed(0)
    model = MaskedModel(nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(20, 3)))
    run = a_run(Variant(structure, granularity, "1S", "L", "uniform", granularity, excluded_layers=("linear",)))
    with run.targeting(0.5):
        projection, masks = sparse_projection(model, run), cut(model, run)
    weight = model.module.get_parameter("0.weight").detach()
    assert set(masks) == {"0.weight"}
    assert torch.equal(projection("0.weight", weight), weight * masks["0.weight"])
    kept: Structure = structure_of(granularity)
    total = kept.count(weight.shape)
    assert int(kept.reduce(masks["0.weight"].double()).gt(0).sum()) == total - total // 2


def a_run(variant: Variant) -> Run:
    split = Split(torch.zeros(4, 2, 4, 4, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    data = Dataset("blank", split, split, split, num_classes=3, threat_eps=0.1)
    return Run(variant=variant, sparsity=0.5, environment=Environment(data, 0, torch.device("cpu")))
