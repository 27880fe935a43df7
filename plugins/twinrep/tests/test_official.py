"""TwinRep against its official code: factors, products, gradients, masks, training across the pruning epoch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from testing_support import four_layers, noisy, part
from torch import Tensor, nn

from apx import MaskedModel, TrainSettings
from apx.datasets import Split
from apx.masks import Masks, weight_names
from apx.reparametrisation import Reparametrisation
from apx.training.objectives import BUILTIN, TRADES, Objective, Threat
from apx.training.optimisation import learning_rate
from apx_twinrep.factors import Channel, Twin, uniform_factor

Maker = Callable[..., Any]
Tensors = dict[str, Tensor]
KINDS: dict[str, type[Reparametrisation]] = {"twin": Twin, "channel": Channel}
STRUCTURES = {"twin": "US", "channel": "S"}


def load(model: MaskedModel, state: Tensors) -> None:
    """Put an official state into a factorised model: weights, batch norm, factors."""
    factors = {name: tensor for name, tensor in state.items() if name.endswith("aux_weight")}
    model.module.load_state_dict({name: tensor for name, tensor in state.items() if name not in factors})
    with torch.no_grad():
        for name, factor in factors.items():
            key = name.replace("aux_weight", "weight").replace(".", "/")
            model.reparametrisations.get_parameter(f"{key}.factor").copy_(factor)
    model.refresh()


def prepared(trial: Maker, state: Tensors, structure: str, fidelity: str, **settings: Any) -> Any:
    """Return a trial of the paper preset whose network and factors are an official state."""
    chosen = {"fidelity": fidelity, "train.epochs": 3, "pruning_epoch": 2, **settings}
    made = trial("twinrep", preset="paper", net=four_layers(), structure=structure, set=chosen)
    coloured = Split(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64))
    data = replace(made.run.data, train=coloured, val=coloured, test=coloured)  # the shape to trace a network with
    made.run.environment = replace(made.run.environment, data=data)
    made.method.prepare(made.model, made.run)
    load(made.model, state)
    return made


def objective_of(settings: TrainSettings, steps: int = 0) -> Objective:
    """Return the phase's own objective with so many attack steps; none leaves the given start."""
    return BUILTIN[settings.objective](settings, Threat(settings.eps or 0.0, settings.alpha or 0.0, steps))


# -- single layers ------------------------------------------------------------------------------------------------

LAYERS = pytest.mark.parametrize("layer", ["conv3", "conv1", "linear"])
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


@LAYERS
@EACH_KIND
def test_official_start_of_both_factors(golden: Maker, kind: str, layer: str) -> None:
    tensors = part(golden("layers")[0], f"{kind}/{layer}/")
    weight, factor = tensors["initial-weight"], tensors["initial-factor"]
    drawn = uniform_factor(weight, tensors["uniform"], channel=kind == "channel")
    torch.testing.assert_close(drawn, factor, rtol=1e-5, atol=1e-7)
    own = uniform_factor(weight, tensors["uniform-weight"], channel=False)  # the weight itself: torch's own start
    torch.testing.assert_close(own, weight, rtol=1e-5, atol=1e-7)


@LAYERS
@EACH_KIND
def test_effective_weight_and_gradients(golden: Maker, kind: str, layer: str) -> None:
    tensors = part(golden("layers")[0], f"{kind}/{layer}/")
    weight = tensors["weight"]
    rows, columns = weight.shape[:2]
    if layer == "linear":
        module: nn.Module = nn.Linear(columns, rows)
        module.load_state_dict({"weight": weight, "bias": tensors["bias"]})
    else:
        module = nn.Conv2d(columns, rows, weight.shape[2], padding=weight.shape[2] // 2, bias=False)
        module.load_state_dict({"weight": weight})
    model = MaskedModel(module)
    function = KINDS[kind](tensors["factor"])
    model.reparametrise("weight", function)
    model.set_masks(Masks({"weight": tensors["mask"]}))
    torch.testing.assert_close(model.fold("weight"), tensors["effective"], rtol=1e-5, atol=1e-6)
    y = model(tensors["x"])
    torch.testing.assert_close(y, tensors["y"], rtol=1e-5, atol=1e-5)
    y.square().sum().backward()
    model.pull_back()
    (factor,) = function.parameters()
    for gradient, name in ((module.get_parameter("weight").grad, "weight"), (factor.grad, "factor")):
        torch.testing.assert_close(gradient, tensors[f"{name}-gradient"], rtol=1e-5, atol=1e-4)


# -- the pruning step ---------------------------------------------------------------------------------------------

CASES = [("twin", case, ratio) for case in ("plain", "ties") for ratio in ("0.5", "0.8", "0.95")]
CASES += [("channel", case, ratio) for case in ("plain", "ties", "spared") for ratio in ("0.3", "0.5", "0.8")]


def masks_of(trial: Maker, tensors: Tensors, kind: str, ratio: str, fidelity: str) -> Masks:
    """Run the method's pruning step on factors of a golden file."""
    state = {name.replace("/factor", ".aux_weight").replace("/", "."): tensor for name, tensor in tensors.items()}
    state = {name: tensor for name, tensor in state.items() if name.endswith("weight") and "mask" not in name}
    made = prepared(trial, four_layers().state_dict() | state, STRUCTURES[kind], fidelity)
    with made.run.targeting(float(ratio)):
        return made.method.masks(made.model, made.run)


def units(masks: Masks, kind: str) -> Tensor:
    """Return the mask bits of all weights (twin) or of the convolutions' filters (channel) as one list."""
    if kind == "twin":
        return torch.cat([masks[f"{layer}.weight"].reshape(-1) for layer in (0, 3, 6, 11)])
    return torch.cat([masks[f"{layer}.weight"].flatten(1).any(dim=1) for layer in (0, 3, 6)])


@pytest.mark.parametrize(("kind", "case", "ratio"), CASES)
def test_official_masks(trial: Maker, golden: Maker, kind: str, case: str, ratio: str) -> None:
    tensors = part(golden("masks")[0], f"{kind}/{case}/")
    masks = masks_of(trial, tensors, kind, ratio, "official")
    for name, expected in part(tensors, f"mask-{ratio}/").items():
        if name in masks:
            assert torch.equal(masks[name], expected), name
        else:
            assert (kind, expected.dim(), bool(expected.all())) == ("channel", 2, True)  # linear layers are not pruned


@pytest.mark.parametrize(("kind", "case", "ratio"), CASES)
def test_exact_masks(trial: Maker, golden: Maker, kind: str, case: str, ratio: str) -> None:
    """By default exactly round(ratio N) units go, some more than in the code where scores tie or a filter is spared."""
    tensors = part(golden("masks")[0], f"{kind}/{case}/")
    exact = units(masks_of(trial, tensors, kind, ratio, "paper"), kind)
    official = units(Masks(part(tensors, f"mask-{ratio}/")), kind)
    asked = round(float(ratio) * len(exact))
    assert int((~exact).sum()) == asked >= int((~official).sum())
    assert not (exact & ~official).any()


@EACH_KIND
def test_the_cases_tie_and_spare(golden: Maker, kind: str) -> None:
    """The golden cases are what their names say: too few units go where scores tie or a layer's last is spared."""
    tensors = part(golden("masks")[0], f"{kind}/")
    for case, ratio in [("ties", "0.5"), ("ties", "0.8")] + [("spared", "0.5")] * (kind == "channel"):
        official = units(Masks(part(tensors, f"{case}/mask-{ratio}/")), kind)
        assert int((~official).sum()) < round(float(ratio) * len(official))


# -- training across the pruning epoch ----------------------------------------------------------------------------


def trained(trial: Maker, given_steps: Maker, tensors: Tensors, kind: str, fidelity: str) -> tuple[Any, list[Any]]:
    """Train three epochs of one given batch each; masks come before the second."""
    mode, sparsity, decay = ("trades", 0.8, 2e-4) if kind == "twin" else ("pgd", 0.5, 0.05)
    settings = {"train.objective": mode, "train.weight_decay": decay}
    made = prepared(trial, part(tensors, "initial/"), STRUCTURES[kind], fidelity, **settings)
    train = made.method.settings.train
    objective = objective_of(train.model_copy(update={"options": {"start": "normal"}}))  # the given noise
    losses = [lambda model, n=number: objective.loss(model, noisy(tensors, n)) for number in range(3)]
    chosen = {name: getattr(train, name) for name in type(train).model_fields} | {"batch_size": 24, "augment": False}
    with made.run.targeting(sparsity):
        dynamics = made.method.dynamics(made.model, made.run)
        return made, given_steps(made.model, tensors["x"], tensors["y"], chosen, dynamics=dynamics, losses=losses)


def close(actual: Tensor, expected: Tensor, name: str) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-6, msg=lambda text: f"{name}: {text}")


def check_step(state: Tensors, tensors: Tensors, number: int) -> None:
    """Compare folded weights, factors, batch norm and biases after a step."""
    expected = part(tensors, f"step-{number}/")
    for name, tensor in part(tensors, f"dense-{number}/").items():
        close(state[f"module.{name}"], tensor, name)
        close(state[f"own.{name.replace('.', '/')}.factor"], expected.pop(name.replace("weight", "aux_weight")), name)
        del expected[name]  # the hidden weight, which the folded one implies
    for name, tensor in expected.items():
        close(state[f"module.{name}"], tensor, name)


@EACH_KIND
def test_three_steps_across_the_pruning_epoch(trial: Maker, golden: Maker, given_steps: Maker, kind: str) -> None:
    """Weights under TRADES; filters under PGD, with a decay that three steps can tell from none."""
    tensors, _ = golden("weights" if kind == "twin" else "filters")
    made, steps = trained(trial, given_steps, tensors, kind, "official")
    settings = made.method.settings.train
    assert [learning_rate(settings, epoch) for epoch in range(3)] == pytest.approx(tensors["rates"].tolist())
    for number, (loss, state) in enumerate(steps):
        assert loss == pytest.approx(float(tensors[f"loss-{number}"]), rel=1e-5)
        check_step(state, tensors, number)
    for name in weight_names(made.model.module):  # what is hidden under the masks, too
        close(made.model.module.get_parameter(name).detach(), tensors[f"step-2/{name}"], name)
    masks = part(tensors, "mask/")
    assert len(made.model.masks) == (4 if kind == "twin" else 3)
    assert all(torch.equal(mask, masks[name]) for name, mask in made.model.masks.items())
    exported = made.method.export(made.model, made.run).state_dict()
    for name, tensor in part(tensors, "dense-2/").items():
        close(exported[name], tensor, name)


@EACH_KIND
def test_by_default_batch_norm_goes_with_its_filter(trial: Maker, golden: Maker, given_steps: Maker, kind: str) -> None:
    tensors, _ = golden("weights" if kind == "twin" else "filters")
    made, steps = trained(trial, given_steps, tensors, kind, "paper")
    check_step(steps[0][1], tensors, 0)  # the masks come later
    if kind == "twin":
        check_step(steps[2][1], tensors, 2)
        return
    masks = part(tensors, "mask/")
    assert all(torch.equal(made.model.masks[name], mask) for name, mask in masks.items() if mask.dim() == 4)
    removed = ~masks["3.weight"].flatten(1).any(dim=1)
    ours, official = steps[2][1]["module.4.bias"], tensors["step-2/4.bias"]
    assert bool(removed.any())
    assert not ours[removed].any()
    assert bool(official[removed].all())


# -- attacks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["adv", "trades"])
def test_adversarial_batch_and_loss(trial: Maker, golden: Maker, mode: str) -> None:
    tensors, _ = golden(f"attack-{mode}")
    objective_name = {"adv": "pgd"}.get(mode, mode)
    made = prepared(trial, part(tensors, "state/"), "US", "official", **{"train.objective": objective_name})
    objective, batch, seen = objective_of(made.method.settings.train, steps=4), noisy(tensors), []
    made.model.train()
    hook = made.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    loss = objective.loss(made.model, batch)
    hook.remove()
    x_adv = seen[-2] if isinstance(objective, TRADES) else seen[-1]
    # a sign may flip where a gradient is nearly zero
    assert float(((x_adv - tensors["x_adv"]).abs() < 1e-6).double().mean()) > 0.99
    torch.testing.assert_close(loss, tensors["loss"][0], rtol=1e-3, atol=0)
