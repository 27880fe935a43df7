"""FlyingBird and FlyingBird+ against their acceptance invariants: worked numbers, counts, when the topology moves."""

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx import MaskedModel, Masks, Method, Observer, Position, build, reported_sparsity
from apx.attacks import pgd, uniform_start
from apx.datasets import ordered_batches
from apx.masks import weight_names
from apx.randomness import keyed_uniform
from apx.runner.request import Request, build_settings
from apx.specifics import IGQ, Weights
from apx.training.objectives import Batch
from apx_flyingbird.generalisation import Generalisation, rising
from apx_flyingbird.method import FlyingBird
from apx_flyingbird.settings import FlyingBirdSettings
from apx_flyingbird.topology import TopologyUpdates

Maker = Callable[..., Any]
FAST = {"train.epochs": 6, "train.batch_size": 8}  # 3 steps an epoch
EAGER = {**FAST, "threshold": 0.0, "plus_start": 0.5}  # FlyingBird+ moves as soon as it may
WEIGHT = torch.tensor([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8, 0.0, 0.0])
GRADIENT = torch.tensor([0.9, -0.1, 0.2, -0.8, 5.0, 5.0, 5.0, 5.0, -0.85, 0.3])


class Steps(Observer):
    """Keeps masks and weights after each step."""

    def __init__(self) -> None:
        self.masks: list[Masks] = []
        self.weights: list[dict[str, Tensor]] = []

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.masks.append(model.masks)
        self.weights.append({name: model.module.get_parameter(name).detach().clone() for name in model.masks})

    def counts(self) -> list[tuple[int, ...]]:
        return [tuple(int(mask.sum()) for mask in masks.values()) for masks in self.masks]

    def updates(self) -> list[int]:
        """Steps (from 1) after which the masks had changed."""
        digests = [masks.digest() for masks in self.masks]
        return [number for number, (a, b) in enumerate(pairwise(digests), start=2) if a != b]


def run(trial: Maker, set: Mapping[str, Any] = FAST, **choice: Any) -> tuple[Any, Steps]:
    steps = Steps()
    made = trial("flyingbird", set=set, observers=[steps], **{"schedule": "1S"} | choice)
    made.exported = made.execute()
    return made, steps


def dynamics(trial: Maker, *, plus: bool = False, epochs: int = 2, **settings: Any) -> TopologyUpdates:
    chosen = {"train.epochs": epochs, **settings}
    made = trial("flyingbird", preset="paper", schedule="IT" if plus else "1S", set=chosen)
    with made.run.targeting(made.run.sparsity):
        return made.method.dynamics(made.model, made.run)


# -- invariants 1 to 3: where the weights are ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "total", "kept"),
    [
        ("preact_resnet18", 11_164_352, {0.9: 1_116_448, 0.95: 558_227, 0.99: 111_650}),
        ("vgg16_bn_linear", 14_715_584, {0.9: 1_471_563, 0.95: 735_784, 0.99: 147_163}),
    ],
)
def test_first_counts_of_the_published_networks(arch: str, total: int, kept: Mapping[float, int]) -> None:
    with torch.device("meta"):
        network = build(arch, num_classes=10)
    shapes = {name: tuple(network.get_parameter(name).shape) for name in weight_names(network)}
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == total
    assert {s: sum(IGQ().kept(shapes, s, Weights()).values()) for s in kept} == kept


@pytest.mark.parametrize(("allocation", "counts"), [("igq", (46, 173, 72)), ("erk", (54, 141, 96))])
def test_masks_start_at_random_with_the_layers_shares(trial: Maker, allocation: str, counts: tuple[int, ...]) -> None:
    settings = {**FAST, "allocation": allocation, "update_interval": None}
    made, steps = run(trial, settings, sparsity=0.5)
    assert steps.counts()[0] == counts  # of 54, 432 and 96
    assert made.exported[0].weight.count_nonzero() == counts[0]
    other, _ = run(trial, settings, sparsity=0.5, seed=1)
    assert made.model.masks.digest() != other.model.masks.digest()


# -- invariant 4: the death rate ----------------------------------------------------------------------------------


def test_the_death_rate_falls_as_a_cosine(trial: Maker) -> None:
    updating = dynamics(trial, epochs=2)
    rates = [updating.death_rate(Position(0, step, 500)) for step in (-1, 499, 999)]
    assert rates == pytest.approx([0.5, 0.2525, 0.005])


# -- invariants 5, 6 and 11: one update ---------------------------------------------------------------------------


def worked_update(trial: Maker, *, prune: bool = False, grow: bool = False, **settings: Any) -> MaskedModel:
    """Ten weights of which eight are active, beside a dense layer; the update drops half of them."""
    model = MaskedModel(nn.Sequential(nn.Linear(10, 1), nn.Linear(1, 3)), storage="inplace")
    chosen = {"growth": "gradient", "death_rate": 0.5, "final_death_rate": 0.5, "update_interval": 1, **settings}
    updating = dynamics(trial, plus=prune or grow, **chosen)
    updating.moves = lambda epoch: (prune, grow)  # type: ignore[method-assign]
    sparse, dense = model.module[0].weight, model.module[1].weight  # type: ignore[index]
    with torch.no_grad():
        sparse.copy_(WEIGHT)
    model.set_masks(Masks({"0.weight": (torch.arange(10) < 8)[None], "1.weight": torch.ones(3, 1, dtype=torch.bool)}))
    sparse.grad, dense.grad = GRADIENT[None].clone(), torch.ones(3, 1)
    optimizer = torch.optim.SGD([sparse], lr=0.1, momentum=0.9)
    optimizer.state[sparse]["momentum_buffer"] = torch.ones(1, 10)
    updating.after_backward(model, SimpleNamespace(), Position(0, 0, 1))  # type: ignore[arg-type]
    updating.after_step(model, optimizer, Position(0, 0, 1))
    assert bool((optimizer.state[sparse]["momentum_buffer"] == model.masks["0.weight"]).all())
    assert bool(model.masks["1.weight"].all())
    return model


def active(model: MaskedModel) -> list[int]:
    return model.masks["0.weight"][0].nonzero()[:, 0].tolist()


def test_drop_and_grow_by_gradient(trial: Maker) -> None:
    model = worked_update(trial)
    assert active(model) == [0, 3, 4, 5, 6, 7, 8, 9]
    assert model.fold("0.weight")[0].tolist() == (WEIGHT * torch.tensor([1, 0, 0, 1, 1, 1, 1, 1, 1, 1])).tolist()


def test_extra_pruning_drops_more_and_regrows_the_same(trial: Maker) -> None:
    assert active(worked_update(trial, prune=True)) == [0, 4, 5, 6, 7, 8]


def test_extra_growth(trial: Maker) -> None:
    assert len(active(worked_update(trial, grow=True, extra_growth=0.3))) == 9  # 4 dropped, 5 of 6 candidates grown
    assert len(active(worked_update(trial, grow=True, extra_growth=0.2))) == 8  # int(4.8)
    assert len(active(worked_update(trial, grow=True, extra_growth=9))) == 10  # there are no more


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_random_growth_draws_from_all_inactive_weights(trial: Maker, fidelity: str) -> None:
    found = active(worked_update(trial, growth="random", fidelity=fidelity))
    assert set(found) >= {4, 5, 6, 7}
    assert fidelity == "official" or len(found) == 8


# -- invariants 7 and 8: what stays the same over a run -----------------------------------------------------------


@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_every_layers_count_stays(trial: Maker, growth: str) -> None:
    made, steps = run(trial, {**FAST, "growth": growth}, sparsity=0.7)
    assert len(set(steps.counts())) == 1
    assert len(steps.updates()) > 3
    assert made.run.sparsity == pytest.approx(1 - sum(steps.counts()[0]) / 582, abs=3 / 582)


def test_official_random_growth_keeps_the_counts_on_average(trial: Maker) -> None:
    changes = []
    for seed in range(4):
        _, steps = run(trial, {**FAST, "fidelity": "official", "update_interval": 1e-9}, seed=seed)
        totals = [sum(counts) for counts in steps.counts()]
        changes += [b - a for a, b in pairwise(totals)]
    assert any(changes)
    mean, spread = float(torch.tensor(changes).double().mean()), float(torch.tensor(changes).double().std())
    assert abs(mean) < 3 * spread / len(changes) ** 0.5


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masked_weights_and_their_moments_are_zero_after_every_step(trial: Maker, optimizer: str) -> None:
    seen = []

    class Watch(TopologyUpdates):
        def after_step(self, model: MaskedModel, optimizer: torch.optim.Optimizer, at: Position) -> None:
            super().after_step(model, optimizer, at)
            for name, mask in model.masks.items():
                weight = model.module.get_parameter(name)
                moments = [t for t in optimizer.state[weight].values() if isinstance(t, Tensor) and t.dim()]
                seen.extend(float((tensor.detach() * ~mask).abs().sum()) for tensor in (weight, *moments))
                assert moments

    made = trial("flyingbird", schedule="1S", set={**FAST, "train.optimizer": optimizer, "train.lr": 0.01})
    made.method.dynamics = lambda model, run: Watch(made.method.settings, run, plus=False)
    made.execute()
    assert seen
    assert not any(seen)


def test_dropped_weights_come_back_as_zeros_unless_at_once(trial: Maker) -> None:
    _, steps = run(trial, {**FAST, "update_interval": 1, "late_update_interval": 1}, sparsity=0.7)  # steps 3, 6, ...
    for number in (2, 5, 8):
        before, after = steps.masks[number - 1], steps.masks[number]
        for name in after:
            new = after[name] & ~before[name]
            assert not steps.weights[number][name][new].any()
    grown = {name: steps.masks[2][name] & ~steps.masks[1][name] for name in ("0.weight", "3.weight")}
    assert all(steps.weights[3][name][new].any() for name, new in grown.items())  # and learn from the next step on


# -- invariant 9: FlyingBird+ -------------------------------------------------------------------------------------


def test_the_rule_of_flyingbird_plus(trial: Maker) -> None:
    losses, gaps = (1, 1.1, 1.05, 1.2, 1.3), (5, 4, 6, 7, 6.5)
    assert (rising(losses, ties=True), rising(gaps)) == (0.75, 0.5)
    assert rising([3.0]) == rising([]) == 0
    assert (rising([1.0, 1.0, 1.0]), rising([1.0, 1.0, 1.0], ties=True)) == (0, 1)
    updating = dynamics(trial, plus=True, epochs=200)
    assert updating.moves(150) == (False, False)
    for loss, gap in zip(losses, gaps, strict=True):
        updating.generalisation.append(gap=gap, loss=loss)
    assert updating.moves(99) == (False, False)
    assert updating.moves(100) == (True, True)
    updating.generalisation.append(gap=6.0, loss=1.2)  # of the last four differences one gap grows
    assert updating.moves(100) == (True, True)
    updating.generalisation.append(gap=5.0, loss=1.1)
    assert updating.moves(100) == (False, True)


def test_before_its_start_flyingbird_plus_is_flyingbird(trial: Maker) -> None:
    _, plain = run(trial, EAGER)
    made, plus = run(trial, EAGER, schedule="IT")
    half = 9  # steps
    for a, b in zip(plain.weights[:half], plus.weights[:half], strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert [sum(counts) for counts in plus.counts()[:half]] == [sum(plus.counts()[0])] * half
    assert sum(plus.counts()[-1]) < sum(plus.counts()[0])
    assert reported_sparsity(made.exported) > 0.5


def test_growth_alone_makes_the_network_denser(trial: Maker) -> None:
    settings = {**EAGER, "extra_drop": 0.0, "extra_growth": 0.5}
    _, steps = run(trial, settings, schedule="IT", sparsity=0.8)
    assert sum(steps.counts()[-1]) > sum(steps.counts()[0])


def test_what_is_measured_is_what_the_rule_looks_at(trial: Maker) -> None:
    updating = dynamics(trial, plus=True, epochs=200)
    measured = [epoch for epoch in range(200) if updating.measured(epoch)]
    assert measured == list(range(95, 199))
    assert not any(dynamics(trial, epochs=200).measured(epoch) for epoch in range(200))


def test_gap_and_loss_are_those_of_the_network(trial: Maker) -> None:
    made = trial("flyingbird", schedule="IT", set={"train.steps": 2, "train.eps": 0.2})
    settings, model = made.method.settings.train, made.model
    before = copy.deepcopy(model.state())
    seen = Generalisation(made.run, settings, window=4, val_steps=3)
    x, y, indices = next(ordered_batches(made.run.data.train, batch_size=24))
    model.train()
    expected = 0
    for part in (slice(0, 16), slice(16, 24)):
        batch = Batch(x[part], y[part], indices[part], 0, "train", 0)
        seen.watch(model, batch)
        pgd(model, batch.x, batch.y, eps=0.2, alpha=0.1, steps=1, mode="train")  # the attack's passes do not count
        model(batch.x)  # nor does a clean one beside that of the loss
        noisy = model(batch.x + 0.1)
        model(batch.x)
        seen.count(batch)
        expected += int((noisy.argmax(dim=1) == batch.y).sum())
    assert seen.state()["right"] == expected
    assert seen.state()["seen"] == 24
    model.load_state(before)
    seen.record(model, epoch=3)
    assert model.training
    assert all(torch.equal(tensor, model.module.state_dict()[name]) for name, tensor in before["module"].items())
    accuracy, loss = by_hand(made, steps=3, eps=0.2, epoch=3)
    assert seen.gaps[0] == pytest.approx(expected / 24 - accuracy)
    assert seen.losses[0] == pytest.approx(loss, rel=1e-5)


def by_hand(made: Any, *, steps: int, eps: float, epoch: int) -> tuple[float, float]:
    x, y, indices = next(ordered_batches(made.run.data.val, batch_size=100))
    start = uniform_start(x, eps, keyed_uniform(0, "generalisation", indices, tuple(x.shape[1:]), epoch=epoch))
    module = copy.deepcopy(made.model.module).eval()
    x_adv = pgd(module, x, y, eps=eps, alpha=2.5 * eps / steps, steps=steps, start=start)
    with torch.no_grad():
        logits = module(x_adv)
    return float((logits.argmax(dim=1) == y).float().mean()), float(functional.cross_entropy(logits, y))


def test_records_survive_a_kill(trial: Maker) -> None:
    first, second = dynamics(trial, plus=True), dynamics(trial, plus=True)
    for number in range(7):
        first.generalisation.append(gap=number / 7, loss=-number)
    second.load_state(first.state())
    assert second.state() == first.state()
    assert len(second.generalisation.gaps) == 5


# -- invariant 10: when -------------------------------------------------------------------------------------------


def test_updates_come_every_900_then_1200_steps_of_cifar10(trial: Maker) -> None:
    updating = dynamics(trial, epochs=200)
    due = [
        epoch * 352 + step + 1
        for epoch in range(200)
        for step in range(352)
        if updating.due(Position(epoch, step, 352))
    ]
    early = list(range(900, 101 * 352 + 1, 900))
    late = [c for c in range(1200, 200 * 352 + 1, 1200) if c > 101 * 352]
    assert due == early + late
    assert (len(early), len(late)) == (39, 29)


def test_shorter_runs_have_shorter_intervals(trial: Maker) -> None:
    updating = dynamics(trial, epochs=200)
    updating.run.epochs_scale = 0.1
    assert updating.due(Position(0, 89, 352))
    assert not updating.due(Position(2, 899 - 2 * 352 + 1, 352))


def test_without_updates_training_is_static(trial: Maker) -> None:
    _, steps = run(trial, {**FAST, "update_interval": None})
    assert steps.updates() == []
    _, steps = run(trial, {**FAST, "update_interval": 1, "late_update_interval": 0.4})
    assert steps.updates() == [3, 6, 9, 12, 13, 14, 15, 16, 17, 18]  # after epoch 3 (of 0 to 5) late


@pytest.mark.parametrize("schedule", ["1S", "IT"])
def test_density_one_is_dense_adversarial_training(trial: Maker, schedule: str) -> None:
    made, _ = run(trial, FAST, sparsity=0.0, schedule=schedule)
    dense = trial("flyingbird", set=FAST, sparsity=0.0)
    dense.run.train("train", dense.model, dense.method.settings.train)
    trained = dense.model.module.state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in made.exported.state_dict().items())


# -- settings -----------------------------------------------------------------------------------------------------


def test_rates_fall_after_epochs_100_and_150() -> None:
    from apx.training.optimisation import learning_rate

    paper = FlyingBirdSettings().train
    assert [learning_rate(paper, epoch) for epoch in (99, 100, 150)] == pytest.approx([0.1, 0.01, 0.001])


def test_intervals_may_be_fractions() -> None:
    kind: type[Method] = FlyingBird
    request = Request("flyingbird", set={"update_interval": "450/352"}, preset="paper")
    assert build_settings(kind, request).update_interval == pytest.approx(450 / 352)  # type: ignore[attr-defined]
