"""HARP beside its official code: golden files hold what that code computed from the same tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apx import MaskedModel, Masks, build
from apx.masks import weight_names
from apx.reparametrisation import scaled_score_init
from apx.selection import keep_highest
from apx_harp.budget import Budget, Flops, Pressure, Weights, rates
from apx_harp.flops import layers_of, uniform_target
from apx_harp.initial import initial_rates
from apx_harp.rates import RatedScores, followed, kept_channels, kept_weights, quota_of, rate_of

Golden = Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]
COUNTS = {"weight": kept_weights, "channel": kept_channels}
CASES = [
    (kind, unit, rate, target)
    for kind in ("conv", "pointwise", "linear")
    for unit in ("weight", "channel")
    for rate, target in ((0.5, 0.3), (0.2, 0.05))
]


def near(ours: Tensor, official: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours.float(), official.float(), rtol=tolerance, atol=1e-6)


# -- one layer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "unit", "rate", "target"), CASES)
def test_a_layer_masks_and_learns_as_officially(
    golden: Golden, kind: str, unit: str, rate: float, target: float
) -> None:
    tensors, _ = golden("layers")
    weight, x, key = tensors[f"{kind}.weight"], tensors[f"{kind}.x"], f"{kind}.{unit}.{rate}"
    quota = nn.Parameter(quota_of(rate, 0.1 * target))
    near(quota.data, tensors[f"{key}.quota"])
    scores = RatedScores(tensors[f"{key}.moved"], quota, 0.1 * target, COUNTS[unit])
    near(scores.rate(), tensors[f"{key}.rate"])
    layer = (
        nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        if weight.dim() == 2
        else nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2, bias=False)
    )
    layer.weight.data = weight.clone()
    layer.weight.requires_grad_(False)
    model = MaskedModel(layer)
    model.reparametrise("weight", scores)
    (model(x) * tensors[f"{key}.direction"]).sum().backward()
    model.pull_back()
    assert torch.equal(model.fold("weight"), tensors[f"{key}.effective"])
    assert scores.scores.grad is not None
    assert quota.grad is not None
    near(scores.scores.grad, tensors[f"{key}.scores_grad"])
    torch.testing.assert_close(quota.grad, tensors[f"{key}.quota_grad"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "unit", "rate", "target"), CASES)
def test_scores_start_as_officially(
    golden: Golden, trial: Callable[..., Any], kind: str, unit: str, rate: float, target: float
) -> None:
    """Sums that mix channels are the code's; the default sums over each channel, which is another order."""
    tensors, _ = golden("layers")
    weight, official = tensors[f"{kind}.weight"], tensors[f"{kind}.{unit}.{rate}.scores"]
    structure = "US" if unit == "weight" else "S"
    near(trial("harp", structure=structure, set={"fidelity": "official"}).method.scores_from(weight), official)
    default = trial("harp", structure=structure).method.scores_from(weight)
    assert torch.allclose(default, official, rtol=1e-5) == (unit == "weight")
    if unit == "channel":
        sums = weight.abs().transpose(0, 1).flatten(1).sum(dim=1)
        near(default.flatten(), 6**0.5 * sums / sums.max())


def test_ties_are_as_many_and_the_first_go(golden: Golden) -> None:
    """The official sort and top-k leave the order of equal scores open; here the first ones are pruned."""
    tensors, _ = golden("layers")
    for unit, rate in (("weight", 0.35), ("channel", 0.4)):
        scores, official = tensors[f"ties.{unit}"], tensors[f"ties.{unit}.mask"].bool()
        ours = keep_highest(scores, COUNTS[unit](torch.tensor(rate), scores.numel()))
        assert torch.equal(scores[ours].sort().values, scores[official].sort().values)
        cut = scores[ours].min()
        assert torch.equal(ours[scores != cut], official[scores != cut])
        assert ours[scores == cut].tolist() == sorted(ours[scores == cut].tolist())


def test_a_channel_stays_where_the_code_keeps_none(golden: Golden) -> None:
    tensors, _ = golden("layers")
    assert not tensors["none.channel.mask"].any()
    assert kept_channels(torch.tensor(0.1), 3) == 1


# -- rates and budgets --------------------------------------------------------------------------------------------


def test_quotas_rates_and_counts_are_the_official_ones(golden: Golden) -> None:
    """Where a rate lies under the floor, the code's quota is not a number; here the share above it is at least 1 %."""
    tensors, _ = golden("rates")
    for row, target in enumerate(tensors["targets"].tolist()):
        for column, rate in enumerate(tensors["rates"].tolist()):
            floor, official = 0.1 * target, tensors["quotas"][row, column]
            if (rate - floor) / (1 - floor) < 0.01:
                assert rate <= floor + 0.01
                continue
            near(quota_of(rate, floor), official)
            near(rate_of(official, floor), tensors["back"][row, column])
    counts = [[kept_weights(rate, n) for n in tensors["sizes"].tolist()] for rate in tensors["back"][1]]
    assert counts == tensors["kept"].tolist()


@pytest.mark.parametrize("arch", ["vgg16", "resnet18"])
@pytest.mark.parametrize("unit", ["weight", "channel"])
@pytest.mark.parametrize("target", [0.5, 0.1])
def test_budgets_of_the_published_networks(golden: Golden, arch: str, unit: str, target: float) -> None:
    tensors, _ = golden("budgets")
    key = f"{'vgg16_bn' if arch == 'vgg16' else arch}.{unit}.{target}"
    network = build(arch, num_classes=10, image_size=32)
    names = weight_names(network)
    budget: Budget
    if unit == "weight":
        budget, leaders = Weights([network.get_parameter(name).numel() for name in names], target), {}
    else:
        layers = layers_of(network, names, torch.rand(1, 3, 32, 32), official=True)
        budget, leaders = Flops(layers, target, uniform_target(layers, target)), followed(names)
    values = dict(zip(names, tensors[f"{key}.quotas"], strict=True))
    quotas = {name: nn.Parameter(value.clone()) for name, value in values.items()}
    rated = {
        name: RatedScores(
            torch.ones(1), quotas[leaders.get(name, name)], 0.1 * target, COUNTS[unit], follows=name in leaders
        )
        for name in names
    }
    assert all(torch.equal(rated[name].quota, values[name]) for name in names)  # shortcuts share the official ones
    pressure = Pressure(rated, budget, gamma=0.01)
    near(pressure.overshoot(), tensors[f"{key}.loss"])
    assert pressure.gamma(2) == pytest.approx(float(tensors[f"{key}.gamma"]))
    pressure.overshoot().backward()
    grads = [torch.zeros(()) if rated[name].follows or q.grad is None else q.grad for name, q in quotas.items()]
    near(torch.stack(grads), tensors[f"{key}.grad"])
    whole = budget.spent(torch.ones(len(names)))
    near(budget.spent(rates(rated)) / whole, tensors[f"{key}.current"])


@pytest.mark.parametrize("arch", ["vgg16", "resnet18"])
def test_erk_starts_as_in_the_published_strategies(golden: Golden, arch: str) -> None:
    """ResNet18's list has each shortcut before its block's convolutions, where the code reads it as behind them."""
    tensors, _ = golden("strategies")
    with torch.device("meta"):
        network = build(arch, num_classes=10)
    weights = {name: network.get_parameter(name) for name in weight_names(network)}
    ours = initial_rates("erk", weights, 0.1)
    names = list(ours)
    for shortcut in (name for name in weights if "shortcut" in name):
        at = names.index(shortcut)
        names.insert(at - 2, names.pop(at))
    listed = torch.tensor([ours[name] for name in names], dtype=torch.float64)
    torch.testing.assert_close(listed, tensors[f"{arch}.erk"], rtol=0, atol=1e-5)


# -- three steps of the search ------------------------------------------------------------------------------------


def network_of(tensors: dict[str, Tensor]) -> nn.Sequential:
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 9, 1, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(9, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)),
    )
    start = {name.removeprefix("start."): t for name, t in tensors.items() if name.startswith("start.")}
    network.load_state_dict(start)
    return network


@pytest.mark.parametrize(("unit", "target", "first"), [("weight", 0.1, 0.3), ("channel", 0.5, 1.0)])
def test_three_steps_of_the_search(
    golden: Golden,
    trial: Callable[..., Any],
    given_steps: Callable[..., Any],
    unit: str,
    target: float,
    first: float,
) -> None:
    tensors, _ = golden("trajectory")
    x, y = tensors["x"].float() / 255, tensors["y"]
    options = {"fidelity": "official", f"start_{unit}s": first}
    made = trial("harp", structure="US" if unit == "weight" else "S", sparsity=1 - target, preset="paper", set=options)
    model = MaskedModel(network_of(tensors))
    with made.run.targeting(made.run.sparsity):
        layers = made.method.layers(model, made.run)
        names = made.run.prunable(model)
        budget: Budget = Weights([model.module.get_parameter(name).numel() for name in names], target)
        if unit == "channel":
            sizes = layers_of(model.module, names, x[0, :1], official=True)
            budget = Flops(sizes, target, uniform_target(sizes, target))
    for name, layer in layers.items():
        model.reparametrise(name, layer)
    masks: list[Masks] = []
    pressure = Watched(layers, budget, 0.1, masks)
    steps = given_steps(
        model,
        x,
        y,
        {"lr": 0.1, "weight_decay": 5e-4, "lr_schedule": "constant"},
        dynamics=pressure,
        parameters=made.method.searched(model, layers),
    )
    for number, (loss, state) in enumerate(steps):
        key = f"{unit}.{number}"
        assert loss == pytest.approx(float(tensors[f"{key}.robust"]), rel=1e-4)
        assert pressure.seen[number] == pytest.approx(float(tensors[f"{key}.hw"]), rel=1e-4)
        for name in layers:
            module = name.removesuffix(".weight")
            own = f"own.{name.replace('.', '/')}"
            near(state[f"{own}.scores"], tensors[f"{key}.{module}.scores"], 1e-4)
            near(state[f"{own}.quota"], tensors[f"{key}.{module}.quota"], 1e-4)
            assert torch.equal(masks[number][name], tensors[f"{key}.{module}.mask"].expand_as(masks[number][name]))
        for norm in ("1", "7"):
            for part in ("weight", "bias", "running_mean", "running_var"):
                near(state[f"module.{norm}.{part}"], tensors[f"{key}.{norm}.{part}"], 1e-4)
    for name in ("0.weight", "3.weight", "6.weight", "11.weight", "11.bias"):
        assert torch.equal(model.module.get_parameter(name), tensors[f"start.{name}"])


class Watched(Pressure):
    """Notes the overshoot before, and the masks after each step."""

    def __init__(self, layers: Any, budget: Budget, gamma: float, masks: list[Masks]) -> None:
        super().__init__(layers, budget, gamma)
        self.seen: list[float] = []
        self._masks = masks

    def loss_terms(self, model: MaskedModel, batch: Any, at: Any) -> Tensor:
        self.seen.append(float(self.overshoot().detach()))
        return super().loss_terms(model, batch, at)

    def after_step(self, model: MaskedModel, optimizer: Any, at: Any) -> None:
        self._masks.append(model.current_masks())


def test_scaled_scores_are_hydras_for_weights(golden: Golden) -> None:
    tensors, _ = golden("layers")
    for kind in ("conv", "pointwise", "linear"):
        near(scaled_score_init(tensors[f"{kind}.weight"]), tensors[f"{kind}.weight.0.5.scores"])
