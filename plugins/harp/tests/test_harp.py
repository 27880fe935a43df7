"""HARP against its acceptance invariants: worked numbers, exact budgets, what each phase may change."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from testing_support import Snapshots
from torch import Tensor, nn

from apx import MaskedModel, Observer, UserError, build, shrink
from apx.masks import weight_names
from apx.reparametrisation import scaled_score_init
from apx_harp.budget import Flops, Pressure, Weights, met, rates
from apx_harp.flops import Layer, layers_of, uniform_target
from apx_harp.initial import initial_rates, lamp
from apx_harp.method import Harp
from apx_harp.rates import RatedScores, followed, kept_channels, kept_weights, quota_of, rate_of

Maker = Callable[..., Any]
FAST = {f"{phase}.{name}": value for phase in ("pretrain", "prune", "finetune")
        for name, value in {"epochs": 1, "batch_size": 8, "steps": 1, "val_steps": 1}.items()}  # fmt: skip


def rated(numbers: list[int], quotas: list[float], floor: float, count: Any = kept_weights) -> dict[str, RatedScores]:
    made = {}
    for index, (n, quota) in enumerate(zip(numbers, quotas, strict=True)):
        made[str(index)] = RatedScores(torch.arange(1.0, n + 1), nn.Parameter(torch.tensor(quota)), floor, count)
    return made


# -- invariants 1 and 2: rates and quotas -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "asked", "quota"), [(0.1, 0.1, -2.30259), (0.1, 0.05, -2.24852), (0.1, 0.01, -2.20727), (1, 0.5, 4.59512)]
)
def test_quotas_of_the_starting_rates(rate: float, asked: float, quota: float) -> None:
    found = quota_of(rate, 0.1 * asked)
    assert float(found) == pytest.approx(quota, abs=1e-5)
    assert float(rate_of(found, 0.1 * asked)) == pytest.approx(min(rate, 0.9905), abs=1e-6)


def test_a_rate_under_the_floor_starts_just_above_it() -> None:
    assert float(rate_of(quota_of(0.1, 0.1), 0.1)) == pytest.approx(0.1 + 0.9 * 0.01)


def test_rates_lie_between_floor_and_one() -> None:
    quotas = torch.linspace(-12, 12, 97)
    for floor in (0.001, 0.01, 0.1):
        found = rate_of(quotas, floor)
        assert ((found > floor) & (found < 1)).all()
        assert (found.diff() > 0).all()


def test_keeping_everything_is_never_over_budget() -> None:
    layers = rated([16, 8], [9.0, 9.0], 0.1)
    assert float(Weights([16, 8], 1.0).overshoot(rates(layers)).detach()) == 0
    sizes = [Layer(3, 8, 9, 64), Layer(8, 4)]
    assert float(Flops(sizes, 1.0).overshoot(rates(layers)).detach()) == 0


# -- invariant 3: the budget of weights ---------------------------------------------------------------------------


def test_budget_of_two_layers() -> None:
    layers, budget = rated([16, 8], [0.0, -2.0], 0.01), Weights([16, 8], 0.1)
    assert float(budget.spent(rates(layers)).detach()) / 24 == pytest.approx(0.379337, abs=1e-6)
    overshoot = budget.overshoot(rates(layers))
    assert float(overshoot.detach()) == pytest.approx(2.793370, abs=1e-6)
    overshoot.backward()
    found = [float(layer.quota.grad) for layer in layers.values() if layer.quota.grad is not None]
    assert found == pytest.approx([1.65, 0.346479], abs=1e-6)


def test_a_budget_that_is_kept_leaves_the_quotas_alone() -> None:
    layers, budget = rated([16, 8], [-5.0, -5.0], 0.01), Weights([16, 8], 0.1)
    assert float(budget.spent(rates(layers)).detach()) / 24 == pytest.approx(0.016626, abs=1e-6)
    overshoot = budget.overshoot(rates(layers))
    overshoot.backward()
    assert float(overshoot.detach()) == 0
    assert all(float(layer.quota.grad) == 0 for layer in layers.values() if layer.quota.grad is not None)


# -- invariant 4: gradients of a layer ----------------------------------------------------------------------------


def test_search_gives_scores_and_quota_a_gradient_and_weights_none() -> None:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.4, -0.8, 0.1, 0.2], [-0.05, 0.6, -0.3, 0.0]]))
        layer.bias.zero_()
    layer.requires_grad_(False)
    quota = nn.Parameter(quota_of(0.5, 0.05))
    assert float(quota.detach()) == pytest.approx(-0.105361, abs=1e-6)
    scores = RatedScores(scaled_score_init(layer.weight), quota, 0.05, kept_weights)
    model = MaskedModel(layer)
    model.reparametrise("weight", scores)
    out = model(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    out.sum().backward()
    model.pull_back()
    torch.testing.assert_close(out.detach(), torch.tensor([[-1.2, 0.3]]))
    assert scores.scores.grad is not None
    torch.testing.assert_close(scores.scores.grad, torch.tensor([[0.4, 1.6, 0.3, 0.8], [0.05, 1.2, 0.9, 0.0]]))
    assert quota.grad is not None
    assert float(quota.grad) == pytest.approx(0.0355263, abs=1e-6)
    assert layer.weight.grad is None


# -- invariant 5: the pressure ------------------------------------------------------------------------------------


def test_gamma_grows_until_an_epoch_ends_within_the_budget() -> None:
    layers = rated([16, 8], [0.0, -2.0], 0.01)
    model = MaskedModel(nn.Linear(1, 1))
    pressure = Pressure(layers, Weights([16, 8], 0.1), gamma=0.01)
    seen, allowed = [], []
    for epoch in range(6):
        seen.append(round(pressure.gamma(epoch), 6))
        if epoch == 2:
            for layer in layers.values():
                layer.quota.data.fill_(-5.0)
        if epoch == 4:
            for layer in layers.values():
                layer.quota.data.fill_(1.0)  # over the budget again: gamma stays all the same
        allowed.append(pressure.may_hand_over(model, epoch))
        assert not pressure.epoch_end(model, epoch)
        revived = Pressure(layers, Weights([16, 8], 0.1), gamma=0.01)
        revived.load_state(pressure.state())
        pressure = revived
    assert seen == [0.01, 0.02, 0.03, 0.03, 0.03, 0.03]
    assert allowed == [False, False, True, True, True, True]


def test_an_overshoot_that_rounds_to_zero_counts_as_met() -> None:
    layers = rated([1000], [0.0], 0.01)
    rate = float(rate_of(torch.tensor(0.0), 0.01))
    model = MaskedModel(nn.Linear(1, 1))
    for excess, counts in ((4e-5, True), (6e-5, False)):
        assert Pressure(layers, Weights([1000], rate / (1 + excess)), 1.0).may_hand_over(model, 0) == counts


class Quotas(Observer):
    """Keeps the quotas after the last step of each epoch of the search."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        if phase == "prune/scores" and step == 2:  # of 24 images in batches of 8
            self.seen.append(quotas_of(model.state_dict()))


def quotas_of(state: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([value.clone() for name, value in state.items() if name.endswith("quota")])


@pytest.mark.parametrize(("speed", "chosen"), [(100.0, 1), (1.0, 3)])
def test_the_best_epoch_is_sought_once_the_budget_is_met(
    trial: Maker, monkeypatch: pytest.MonkeyPatch, speed: float, chosen: int
) -> None:
    """Where no epoch ends within the budget, the last one is handed over."""
    accuracies = iter([0.9, 0.8, 0.7, 0.6])
    monkeypatch.setattr("apx.training.trainer.Trainer._validation_accuracy", lambda trainer: next(accuracies))
    seen, quotas = Snapshots(), Quotas()
    options = {**FAST, "prune.epochs": 4, "prune.handover": "best", "quota_lr": speed, "prune.lr_schedule": "constant"}
    made = trial("harp", structure="S", sparsity=0.5, set=options, observers=[seen, quotas])
    made.execute()
    with made.run.targeting(0.5):
        budget = made.method.budget(made.model, made.run)
    over = [float(budget.overshoot(rate_of(values, 0.05))) for values in quotas.seen]
    met_at = next((epoch for epoch, excess in enumerate(over) if excess < 5e-5), 3)
    assert met_at == chosen
    assert torch.equal(quotas_of(seen.states["prune/scores:end"]), quotas.seen[chosen])


# -- invariant 6: channels ----------------------------------------------------------------------------------------

WEIGHT = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]).view(2, 3, 1, 1)


def test_channel_scores_start_at_the_channels_norms(trial: Maker) -> None:
    scores = trial("harp", structure="S").method.scores_from(WEIGHT)
    torch.testing.assert_close(scores, torch.tensor([0.81650, 1.63299, 2.44949]).view(1, 3, 1, 1), atol=1e-5, rtol=0)
    mixed = trial("harp", structure="S", set={"fidelity": "official"}).method.scores_from(WEIGHT)
    torch.testing.assert_close(mixed, torch.tensor([0.14697, 0.63687, 2.44949]).view(1, 3, 1, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rate", "kept"), [(0.9, 3), (0.5, 2), (0.34, 1), (0.1, 1)])
def test_kept_channels(rate: float, kept: int) -> None:
    assert kept_channels(torch.tensor(rate), 3) == kept


# -- invariant 7: operations --------------------------------------------------------------------------------------


def test_operations_of_single_layers() -> None:
    assert Layer(3, 64, 9, 32 * 32).flops(3, 64) == 3_604_480
    assert Layer(64, 128, 9, 16.5**2).flops(64, 128) == 40_179_744
    assert Layer(512, 10).flops(512, 10) == 10_250


@pytest.mark.parametrize(
    ("arch", "dense", "targets", "true"),
    [
        ("vgg16", 627_854_858, (157_327_877, 39_366_530, 6_229_601), 627_854_858),
        ("resnet18", 1_130_682_826, (283_122_405, 70_858_866, 11_085_282), 1_111_459_850),
    ],
)
def test_operations_of_the_published_networks(arch: str, dense: int, targets: tuple[int, ...], true: int) -> None:
    network, x = build(arch, num_classes=10, image_size=32), torch.zeros(1, 3, 32, 32)
    names = weight_names(network)
    layers = layers_of(network, names, x, official=True)
    assert sum(layer.flops(layer.inputs, layer.outputs) for layer in layers) == dense
    assert tuple(uniform_target(layers, rate) for rate in (0.5, 0.25, 0.1)) == targets
    whole = torch.ones(len(names))
    assert float(Flops(layers_of(network, names, x), 1.0).spent(whole)) == true


def test_the_budget_can_be_kept_by_the_rates_that_name_it() -> None:
    """Officially the last layer's outputs are cut as well, and the three image channels may all go."""
    layers = [Layer(3, 20, 9, 64), Layer(20, 30, 9, 16), Layer(30, 10)]
    even = torch.tensor([1 / 3, 0.1, 0.1], dtype=torch.float64)
    assert float(Flops(layers, 0.1).overshoot(even)) == pytest.approx(0, abs=1e-9)
    official = Flops(layers, 0.1, uniform_target(layers, 0.1))
    assert float(official.overshoot(even)) > 0


# -- the budget is met by whole units -----------------------------------------------------------------------------


@pytest.mark.parametrize("quotas", [[3.0, 2.0, 1.0], [-3.0, -5.0, -4.0], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01])
def test_whole_weights_meet_the_budget(quotas: list[float], rate: float) -> None:
    units, floor = [1728, 36864, 5120], 0.1 * rate
    given = torch.tensor(quotas, dtype=torch.float64)
    kept = met(Weights(units, rate), lambda shift: rate_of(given + shift, floor), [[0], [1], [2]])
    assert sum(kept) == int(rate * sum(units) + 1e-6)
    shares = [k / n for k, n in zip(kept, units, strict=True)]
    assert all(share > floor for share in shares)
    if len(set(quotas)) > 1:
        assert sorted(shares) == [shares[i] for i in given.argsort()]  # the layers' order stays


@pytest.mark.parametrize("rate", [0.7, 0.5, 0.25, 0.1])
def test_whole_channels_meet_the_budget(rate: float) -> None:
    layers = [Layer(3, 16, 9, 256), Layer(16, 32, 9, 64), Layer(16, 32, 1, 64), Layer(32, 10)]
    budget = Flops(layers, rate)
    given = torch.tensor([1.0, -0.5, -0.5, 0.3], dtype=torch.float64)
    kept = met(budget, lambda shift: rate_of(given + shift, 0.1 * rate), [[0], [1, 2], [3]])
    units = budget.units
    assert kept[1] == kept[2]
    assert min(kept) >= 1
    spent = float(budget.spent(torch.tensor(kept) / units))
    assert spent <= budget.target * (1 + 1e-9)
    excesses = []
    for group in ([0], [1, 2], [3]):
        more = torch.tensor(kept, dtype=torch.float64)
        more[group] += 1
        excesses.append(bool((more <= units).all()) and float(budget.spent(more / units)) > budget.target)
    assert any(excesses)  # less than one unit is left


def test_a_budget_below_one_channel_each_is_refused() -> None:
    layers = [Layer(3, 8, 9, 64), Layer(8, 4)]
    with pytest.raises(UserError, match="ask for less sparsity"):
        met(Flops(layers, 0.5, target=10.0), lambda shift: rate_of(torch.zeros(2) + shift, 0.05), [[0], [1]])


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_rates_under_the_budget_grow_back_unless_official(trial: Maker, fidelity: str) -> None:
    made = trial("harp", sparsity=0.5, set={**FAST, "prune.epochs": 0, "start_weights": 0.1, "fidelity": fidelity})
    made.execute()
    kept = sum(int(mask.sum()) for mask in made.model.masks.values())
    total = sum(mask.numel() for mask in made.model.masks.values())
    assert kept == (total // 2 if fidelity == "paper" else sum(int(0.1 * n) + 1 for n in (54, 432, 96)))


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_rates_over_the_budget_shrink(trial: Maker, fidelity: str) -> None:
    made = trial("harp", sparsity=0.9, set={**FAST, "prune.epochs": 0, "start_weights": 0.7, "fidelity": fidelity})
    made.execute()
    kept = sum(int(mask.sum()) for mask in made.model.masks.values())
    assert kept == int(0.1 * (54 + 432 + 96))


# -- invariant 8: what each phase changes -------------------------------------------------------------------------


@pytest.fixture(params=["US", "S"])
def searched(trial: Maker, request: pytest.FixtureRequest) -> tuple[Snapshots, Any, nn.Module]:
    seen = Snapshots()
    options = {**FAST, "start_weights": 0.8, "start_channels": 0.8}
    made = trial("harp", structure=request.param, sparsity=0.5, set=options, observers=[seen])
    return seen, made, made.execute()


def test_search_moves_scores_quotas_and_batch_norm_alone(searched: tuple[Snapshots, Any, nn.Module]) -> None:
    seen, _, _ = searched
    before, after = seen.states["prune/scores:start"], seen.states["prune/scores:end"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    norms = {f"module.{layer}.{part}" for layer in (1, 4) for part in ("weight", "bias", "running_mean")}
    learned = {name for name in before if name.endswith((".scores", ".quota"))}
    assert norms | learned <= moved
    assert len(learned) == 6
    assert not moved & {f"module.{name}" for name in ("0.weight", "3.weight", "8.weight", "8.bias")}


def test_finetuning_moves_the_weights_under_fixed_masks(searched: tuple[Snapshots, Any, nn.Module]) -> None:
    seen, made, plain = searched
    start, end = seen.states["finetune:start"], seen.states["finetune:end"]
    assert torch.equal(seen.states["pretrain:end"]["module.3.weight"], start["module.3.weight"])
    assert not torch.equal(start["module.3.weight"], end["module.3.weight"])
    assert seen.masks["finetune:start"].digest() == seen.masks["finetune:end"].digest()
    for name in weight_names(plain):
        assert torch.equal(plain.get_parameter(name) != 0, made.model.masks[name])


def test_the_export_is_within_the_budget(searched: tuple[Snapshots, Any, nn.Module]) -> None:
    _, made, plain = searched
    names = weight_names(plain)
    with made.run.targeting(0.5):
        budget = made.method.budget(made.model, made.run)
    alive = [plain.get_parameter(name) != 0 for name in names]
    if made.run.variant.structure == "US":
        kept = torch.tensor([int(mask.sum()) for mask in alive])
        assert int(kept.sum()) <= 0.5 * 582
    else:
        channels = [mask.transpose(0, 1).flatten(1) for mask in alive]
        assert all(bool((mask.all(dim=1) | ~mask.any(dim=1)).all()) for mask in channels)  # whole channels
        kept = torch.tensor([int(mask.any(dim=1).sum()) for mask in channels])
        assert int(kept.min()) >= 1
    spent = float(budget.spent(kept / budget.units))
    assert budget.target * 0.8 < spent <= budget.target * (1 + 1e-9)


# -- invariant 9: with fixed rates it is HYDRA --------------------------------------------------------------------


def test_scores_alone_at_one_rate_are_hydras(trial: Maker) -> None:
    found = {}
    for slug in ("hydra", "harp"):
        seen = Snapshots()
        own = {"learn": "scores"} if slug == "harp" else {}
        options = {**FAST, "prune.objective": "trades", "prune.weight_decay": 1e-4, **own}
        made = trial(slug, sparsity=0.9, set=options, observers=[seen])
        made.execute()
        found[slug] = (seen.states["prune/scores:end"], made.model.masks)
    (hydra, their), (harp, ours) = found["hydra"], found["harp"]
    for name in hydra:
        assert torch.equal(hydra[name], harp[name])
    for name in their:
        assert int((their[name] ^ ours[name]).sum()) <= 1
    assert all(torch.equal(value, quota_of(0.1, 0.01)) for name, value in harp.items() if name.endswith("quota"))


# -- what is learned, and how -------------------------------------------------------------------------------------


def layers_at(made: Any, sparsity: float) -> dict[str, RatedScores]:
    with made.run.targeting(sparsity):
        return made.method.layers(made.model, made.run)


@pytest.mark.parametrize(("learn", "moved"), [("rates", {"quota"}), ("scores", {"scores"})])
def test_parts_of_the_search_can_stand_still(trial: Maker, learn: str, moved: set[str]) -> None:
    seen = Snapshots()
    trial("harp", sparsity=0.5, set={**FAST, "learn": learn}, observers=[seen]).execute()
    before, after = seen.states["prune/scores:start"], seen.states["prune/scores:end"]
    own = [name for name in before if name.startswith("reparametrisations")]
    assert {name.split(".")[-1] for name in own if not torch.equal(before[name], after[name])} == moved


def test_scores_alone_start_at_the_budget_and_officially_at_no_rate_in_particular(trial: Maker) -> None:
    layers = layers_at(trial("harp", sparsity=0.75, set={"learn": "scores"}), 0.75)
    assert float(rates(layers).detach().mean()) == pytest.approx(0.25)
    layers = layers_at(trial("harp", sparsity=0.75, set={"learn": "scores", "fidelity": "official"}), 0.75)
    assert float(rates(layers).detach().mean()) == pytest.approx(0.025 + 0.975 * 0.731059, abs=1e-6)


def test_quotas_may_be_spared_weight_decay(trial: Maker) -> None:
    made = trial("harp", preset="paper", set={"quota_decay": False})
    layers = layers_at(made, 0.9)
    _, quotas = made.method.searched(made.model, layers)
    assert quotas["weight_decay"] == 0.0
    assert len(quotas["params"]) == 3
    _, quotas = trial("harp", preset="paper").method.searched(made.model, layers)
    assert "weight_decay" not in quotas


@pytest.mark.parametrize(("structure", "rate"), [("US", 0.1), ("S", 0.9905)])
def test_starting_rates(trial: Maker, structure: str, rate: float) -> None:
    layers = layers_at(trial("harp", structure=structure, preset="paper", sparsity=0.5), 0.5)
    assert rates(layers).tolist() == pytest.approx([rate] * 3, abs=1e-5)


def test_lamp_scores_by_hand() -> None:
    torch.testing.assert_close(
        lamp(torch.tensor([2.0, -1.0, 3.0])), torch.tensor([4 / 13, 1 / 14, 1.0], dtype=torch.float64)
    )


def test_lamp_and_erk_start_at_the_rate_in_total(trial: Maker) -> None:
    weights = {"a": torch.randn(40, 10, generator=torch.Generator().manual_seed(0)), "b": torch.randn(6, 10)}
    for start in ("lamp", "erk"):
        found = initial_rates(start, weights, 0.3)
        assert found["a"] * 400 + found["b"] * 60 == pytest.approx(0.3 * 460, abs=2)
        assert found["b"] > found["a"]
    refusal = trial("harp", structure="S", set={"start": "erk"}).method.refuses(nn.Linear(1, 1))
    assert refusal is not None
    assert "start=uniform" in refusal


# -- residual networks --------------------------------------------------------------------------------------------


def test_a_shortcut_follows_its_blocks_first_convolution() -> None:
    with torch.device("meta"):
        names = weight_names(build("resnet18", num_classes=10))
    expected = {f"layer{n}.0.shortcut.0.weight": f"layer{n}.0.conv1.weight" for n in (2, 3, 4)}
    assert followed(names) == expected
    assert followed(["stem.weight", "stages.1.downsample.0.weight", "stages.1.conv1.weight"]) == {
        "stages.1.downsample.0.weight": "stages.1.conv1.weight"
    }


class Residual(nn.Module):
    """A stem and one block with a shortcut, for images of 1x8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.block = nn.ModuleDict(
            {"conv1": nn.Conv2d(6, 8, 3, 2, 1), "conv2": nn.Conv2d(8, 8, 3, 1, 1), "shortcut": nn.Conv2d(6, 8, 1, 2)}
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        inner = self.block["conv2"](self.block["conv1"](x).relu())
        return self.head((inner + self.block["shortcut"](x)).relu().mean((2, 3)))


def test_a_shortcut_shares_the_rate_and_owns_its_scores(trial: Maker) -> None:
    seen = Snapshots()
    made = trial("harp", structure="S", net=Residual(), set=FAST, observers=[seen])
    plain = made.execute()
    state = seen.states["prune/scores:end"]
    own = {name: value for name, value in state.items() if name.endswith("quota")}
    lead, follow = (own[f"reparametrisations.block/{part}/weight.quota"] for part in ("conv1", "shortcut"))
    assert torch.equal(lead, follow)
    assert len({float(value) for value in own.values()}) == 4
    kept = {
        part: int((plain.get_parameter(f"block.{part}.weight") != 0).transpose(0, 1).flatten(1).any(dim=1).sum())
        for part in ("conv1", "shortcut")
    }
    assert kept["conv1"] == kept["shortcut"]
    assert not torch.equal(
        state["reparametrisations.block/conv1/weight.scores"], state["reparametrisations.block/shortcut/weight.scores"]
    )


def test_weights_of_a_shortcut_have_their_own_rate(trial: Maker) -> None:
    layers = layers_at(trial("harp", net=Residual()), 0.5)
    assert len({id(layer.quota) for layer in layers.values()}) == 5


# -- physical removal ---------------------------------------------------------------------------------------------


def exported(arch: str, kept: Mapping[str, int]) -> tuple[nn.Module, Tensor]:
    """A network with all but the first input channels of some layers removed."""
    torch.manual_seed(0)
    network, x = build(arch, num_classes=10, width=4, image_size=16).eval(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        for name, count in kept.items():
            network.get_parameter(f"{name}.weight")[:, count:] = 0
    return network, x


def test_a_filter_whose_channel_nobody_reads_can_be_removed() -> None:
    network, x = exported("vgg16", {"features.3": 3, "features.40": 20, "classifier.0": 40, "classifier.2": 5})
    report = shrink(network, x)
    small = report.module
    assert report.channels["features.0"] == (3, 3)
    assert report.channels["features.37"] == (20, 32)
    assert report.channels["features.40"] == (10, 20)  # each of its channels is four features of the classifier
    assert report.channels["classifier.0"] == (5, 40)
    torch.testing.assert_close(small(x), network(x))


def test_in_a_residual_network_the_blocks_inner_filters_can_be_removed() -> None:
    network, x = exported("resnet18", {"layer1.0.conv1": 2, "layer1.0.conv2": 3, "layer2.0.conv2": 5})
    report = shrink(network, x)
    assert report.channels == {
        "layer1.0.conv1": (3, 4), "layer1.0.bn1": (3, 3), "layer1.0.conv2": (4, 3),
        "layer2.0.conv1": (5, 4), "layer2.0.bn1": (5, 5), "layer2.0.conv2": (8, 5),
    }  # fmt: skip
    torch.testing.assert_close(report.module(x), network(x))


def test_a_whole_stream_that_nobody_reads_can_be_removed() -> None:
    readers = ["layer2.1.conv1", "layer3.0.conv1", "layer3.0.shortcut.0"]
    network, x = exported("resnet18", dict.fromkeys(readers, 6))
    report = shrink(network, x)
    assert report.channels["layer2.0.shortcut.0"] == (6, 4)
    assert report.channels["layer2.1.conv2"] == (6, 8)
    torch.testing.assert_close(report.module(x), network(x))


# -- settings -----------------------------------------------------------------------------------------------------


def test_paper_settings(trial: Maker) -> None:
    for structure, gamma in (("US", 0.01), ("S", 0.1)):
        method: Harp = trial("harp", structure=structure, preset="paper").method
        assert method.gamma == gamma
        phases = (method.settings.pretrain, method.settings.prune, method.settings.finetune)
        assert [phase.epochs for phase in phases] == [100, 20, 100]
        assert [phase.lr for phase in phases] == [0.1, 0.1, 0.01]
        for phase in phases:
            assert (phase.objective, phase.attack_bn, phase.eps, phase.alpha, phase.steps) == (
                "pgd", "eval", 0.031, 0.0078, 10,
            )  # fmt: skip
            assert (phase.optimizer, phase.momentum, phase.weight_decay, phase.batch_size) == ("sgd", 0.9, 5e-4, 128)
            assert (phase.lr_schedule, phase.handover, phase.val_steps) == ("shifted-cosine", "best", 10)


@pytest.mark.parametrize(("fidelity", "passes"), [("paper", 1), ("official", 2)])
def test_official_code_shows_batch_norm_the_clean_images_too(trial: Maker, fidelity: str, passes: int) -> None:
    options = {**FAST, "prune.epochs": 0, "finetune.epochs": 0, "fidelity": fidelity}
    plain = trial("harp", set=options).execute()
    assert int(plain.get_buffer("1.num_batches_tracked")) == 3 * passes  # 24 images in batches of 8


@pytest.mark.parametrize("objective", ["trades", "mart", "nat"])
def test_other_losses(trial: Maker, objective: str) -> None:
    plain = trial("harp", set={**FAST, **{f"{p}.objective": objective for p in ("prune", "finetune")}}).execute()
    assert all(torch.isfinite(tensor).all() for tensor in plain.state_dict().values())
