"""Parity with the official code, run on given tensors: quotas, updates, the rule of FlyingBird+, whole trajectories.

Two habits need `fidelity="official"`: random growth that meets its count on average, and gradient growth that ranks
active weights too, as zeros. Which of several equal gradients grows is open there (its sort is not stable), and with it
how many weights without gradient do; what has a gradient agrees exactly.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apx import MaskedModel, Masks, Position
from apx.specifics import IGQ, Weights
from apx.specifics.rates import igq_sparsities
from apx_flyingbird.generalisation import rising
from apx_flyingbird.topology import TopologyUpdates

Maker = Callable[..., Any]
Golden = Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]
LAYERS = ("0.weight", "1.weight", "2.weight", "3.weight")  # of the updates; the last one is dense
CASES = [
    (growth, f"{kind}-{density}")
    for growth in ("gradient", "random")
    for kind in ("plain", "ties")
    for density in (0.5, 0.2)
]
CASES += [("gradient", "dead-0.5"), ("gradient", "dead-0.2")]  # most gradients are zero
MOVES = {"keep": (False, False), "prune": (True, False), "grow": (False, True), "both": (True, True)}


def updates(trial: Maker, *, plus: bool = False, **settings: Any) -> TopologyUpdates:
    made = trial("flyingbird", schedule="IT" if plus else "1S", set={"train.epochs": 1, **settings})
    with made.run.targeting(0.5):
        return made.method.dynamics(made.model, made.run)


@pytest.mark.parametrize("shapes", ["worked-2", "worked-3", "odd", "conformance", "resnet18", "vgg16"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.95, 0.99])
def test_quotas(golden: Golden, shapes: str, sparsity: float) -> None:
    tensors, _ = golden("quotas")
    named = {str(number): tuple(shape) for number, shape in enumerate(tensors[f"{shapes}/shapes"].tolist())}
    counts = [torch.Size(shape).numel() for shape in named.values()]
    expected = tensors[f"{shapes}/{sparsity}"]
    found = torch.tensor(igq_sparsities(counts, sparsity), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert list(IGQ().kept(named, sparsity, Weights()).values()) == tensors[f"{shapes}/{sparsity}/kept"].tolist()


def test_death_rates(golden: Golden, trial: Maker) -> None:
    expected = golden("schedule")[0]["death-rates"]
    updating = updates(trial)
    found = [updating.death_rate(Position(0, step, 40)) for step in range(40)]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=1e-9, atol=0)


def test_ratios_of_flyingbird_plus(golden: Golden, trial: Maker) -> None:
    tensors, _ = golden("schedule")
    series = [name.removeprefix("series-") for name in tensors if name.startswith("series-")]
    assert len(series) > 10
    for number in series:
        updating = updates(trial, plus=True, plus_start=0)
        for value in tensors[f"series-{number}"].tolist():
            updating.generalisation.append(gap=value, loss=value)
        prune, grow = tensors[f"ratios-{number}"].tolist()
        assert (rising(updating.generalisation.gaps), rising(updating.generalisation.losses, ties=True)) == (
            prune,
            grow,
        )
        assert updating.moves(0) == (prune >= 0.5, grow >= 0.5)


def updated(
    trial: Maker, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, Tensor], case: str, **chosen: Any
) -> Masks:
    """One update at a given rate of the layers of a golden case."""
    move = MOVES[chosen.pop("move")]
    rate = chosen.pop("rate")
    updating = updates(trial, update_interval=1, death_rate=rate, final_death_rate=rate, **chosen)
    monkeypatch.setattr(updating, "moves", lambda epoch: move)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, bias=False), nn.Conv2d(5, 7, 1, bias=False), nn.Linear(24, 4), nn.Linear(3, 2)
    )
    model, at = MaskedModel(net, storage="inplace"), Position(0, 0, 1)
    for name in LAYERS:
        net.get_parameter(name).data = tensors[f"{case}/weight/{name}"]
        net.get_parameter(name).grad = tensors[f"{case}/gradient/{name}"]
    model.set_masks(Masks({name: tensors[f"{case}/mask/{name}"] for name in LAYERS}))

    def given(purpose: str, shape: tuple[int, ...]) -> Tensor:
        return tensors[f"{case}/uniform/{purpose.split('/')[-1]}"]

    monkeypatch.setattr(updating.run, "random", given)
    updating.after_backward(model, None, at)  # type: ignore[arg-type] - the batch is looked at by FlyingBird+ alone
    return updating.update(model, at)


@pytest.mark.parametrize(("growth", "case"), CASES)
@pytest.mark.parametrize("rate", [0.5, 0.13])
@pytest.mark.parametrize("move", list(MOVES))
def test_one_update(
    golden: Golden,
    trial: Maker,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    growth: str,
    rate: float,
    move: str,
) -> None:
    tensors, _ = golden("updates")
    chosen = {"growth": growth, "rate": rate, "move": move}
    masks = updated(trial, monkeypatch, tensors, case, fidelity="official", **chosen)
    for name in LAYERS:
        expected = tensors[f"{case}/{growth}-{rate}-{move}/{name}"]
        settled = tensors[f"{case}/gradient/{name}"] != 0 if case.startswith("dead") else torch.ones_like(expected)
        assert torch.equal(masks[name] & settled, expected & settled), name
    if growth == "gradient" and not case.startswith("dead"):
        corrected = updated(trial, monkeypatch, tensors, case, **chosen)
        assert corrected.digest() == masks.digest()


def test_by_default_the_counts_stay(golden: Golden, trial: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Official counts shrink where gradients are zero, and move about with random growth; ours do neither."""
    tensors, _ = golden("updates")
    for case, growth in (("dead-0.5", "gradient"), ("plain-0.5", "random"), ("ties-0.2", "random")):
        masks = updated(trial, monkeypatch, tensors, case, growth=growth, rate=0.5, move="keep")
        before = [int(tensors[f"{case}/mask/{name}"].sum()) for name in LAYERS]
        official = [int(tensors[f"{case}/{growth}-0.5-keep/{name}"].sum()) for name in LAYERS]
        assert [int(masks[name].sum()) for name in LAYERS] == before
        assert official != before
    habit = updated(
        trial, monkeypatch, tensors, "dead-0.5", growth="gradient", rate=0.5, move="keep", fidelity="official"
    )
    assert sum(int(mask.sum()) for mask in habit.values()) < sum(
        int(tensors[f"dead-0.5/mask/{name}"].sum()) for name in LAYERS
    )


class Watched(TopologyUpdates):
    """Remembers masks and momentum after each step."""

    masks: list[Masks]
    momentum: list[dict[str, Tensor]]

    def after_step(self, model: MaskedModel, optimizer: torch.optim.Optimizer, at: Position) -> None:
        super().after_step(model, optimizer, at)
        self.masks.append(model.masks)
        states = {name: optimizer.state[p]["momentum_buffer"] for name, p in model.module.named_parameters()}
        self.momentum.append({name: buffer.clone() for name, buffer in states.items()})


@pytest.mark.parametrize("label", ["fb-gradient", "fb-random", "fbp-gradient"])
def test_trajectory(
    golden: Golden, trial: Maker, given_steps: Maker, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    """Four steps of the official training loop with an update after the second and the fourth."""
    tensors, _ = golden(f"trajectory-{label}")
    net = nn.Sequential(
        *(nn.Conv2d(1, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.Conv2d(5, 7, 1, bias=False), nn.BatchNorm2d(7), nn.ReLU()),
        *(nn.Conv2d(7, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)),
    )
    net.load_state_dict(under(tensors, "start/"))
    made = trial(
        "flyingbird",
        net=net,
        schedule="IT" if label.startswith("fbp") else "1S",
        set={
            "train.epochs": 1,
            "update_interval": 0.5,
            "plus_start": 0,
            "growth": label.split("-")[1],
            "fidelity": "official",
        },
    )
    made.method.prepare(made.model, made.run)
    with made.run.targeting(0.6):
        dynamics = Watched(made.method.settings, made.run, plus=label.startswith("fbp"))
    dynamics.masks, dynamics.momentum = [], []
    for gap, loss in zip((5, 4, 6, 7, 6.5), (1, 1.1, 1.05, 1.2, 1.3), strict=True):
        dynamics.generalisation.append(gap=gap, loss=loss)
    first = under(tensors, "mask-0/")
    ordered = {name: first[name] for name in made.run.prunable(made.model)}
    monkeypatch.setattr(dynamics, "first_masks", lambda model: Masks(ordered))
    drawn = iter(under(tensors, "uniform-").values())
    monkeypatch.setattr(made.run, "random", lambda purpose, shape: next(drawn))
    settings = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "lr_schedule": "constant"}
    seen = given_steps(made.model, tensors["x"], tensors["y"], settings, dynamics=dynamics)

    torch.testing.assert_close(torch.tensor([loss for loss, _ in seen]), tensors["losses"], rtol=1e-4, atol=1e-6)
    for step, (_, state) in enumerate(seen):
        assert dynamics.masks[step].digest() == Masks(under(tensors, f"mask-{step + 1}/")).digest()
        for name, expected in under(tensors, f"step-{step}/").items():
            torch.testing.assert_close(state[f"module.{name}"], expected, rtol=1e-4, atol=1e-6)
    for name, expected in under(tensors, "momentum/").items():
        torch.testing.assert_close(dynamics.momentum[-1][name], expected, rtol=1e-4, atol=1e-6)


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in sorted(tensors.items()) if name.startswith(prefix)}
