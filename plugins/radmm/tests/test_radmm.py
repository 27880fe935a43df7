"""RADMM against its acceptance invariants: projections, counts, schedules, what each phase leaves behind."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apx import Batch, MaskedModel, Observer, UserError, build, shrink
from apx.admm import ADMM, energy, project
from apx.attacks import fgsm, pgd, uniform_start
from apx.masks import Masks, weight_names
from apx.runner.request import Request, build_settings
from apx.specifics import Uniform, structure_of
from apx.training.dynamics import Position
from apx.training.objectives import Threat
from apx.training.optimisation import learning_rate
from apx.training.settings import TrainSettings, scaled
from apx_radmm.method import Radmm, RadmmSettings
from apx_radmm.objective import WarmedUpPGD
from apx_radmm.percentile import Percentile, project_at_percentile

Maker = Callable[..., Any]
PHASES = ("pretrain", "prune", "finetune")
FAST: dict[str, Any] = {f"{phase}.batch_size": 8 for phase in PHASES} | {f"{phase}.steps": 1 for phase in PHASES}
FAST |= {"pretrain.epochs": 1, "prune.epochs": 3, "finetune.epochs": 2}
WORKED = torch.tensor([0.1, -0.2, 0.3, -0.4, 0.5])
VARIANTS = {"weights": "US", "filters": "S", "columns": "S", "channels": "S"}


class Watched(Observer):
    """Keeps states where phases begin and end, and every step's effective weights and masks while finetuning."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.finetuned: list[tuple[dict[str, Tensor], Masks]] = []

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:start"] = model.folded_state()

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:end"] = model.folded_state()

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        if phase == "finetune":
            self.finetuned.append((model.folded_state(), model.masks))


class Duals(ADMM):
    """Notes the duals, the duplicates and the weights of each step."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.seen: list[tuple[int, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]] = []

    def loss_terms(self, model: MaskedModel, batch: Batch, at: Position) -> Tensor:
        weights = {name: model.module.get_parameter(name).detach().clone() for name in self.z}
        self.seen.append((at.epoch, dict(self.u), dict(self.z), weights))
        return super().loss_terms(model, batch, at)


@pytest.fixture
def duals(monkeypatch: pytest.MonkeyPatch) -> list[Duals]:
    """The ADMM dynamics of a test's runs, in their order."""
    made: list[Duals] = []

    def make(*args: Any, **settings: Any) -> Duals:
        made.append(Duals(*args, **settings))
        return made[-1]

    monkeypatch.setattr("apx_radmm.method.ADMM", make)
    return made


# -- invariants 1 and 2: the official rule at a percentile (exact counts are core's) --------------------------------


def test_a_weight_at_the_percentile_is_in_the_projection_and_not_in_the_mask() -> None:
    weights = structure_of("weights")
    assert project_at_percentile(WORKED, weights, 0.5).tolist() == [0, 0, *WORKED[2:].tolist()]
    masks = Percentile().select({"w": energy(WORKED)}, {"w": (5,)}, 0.5, weights)
    assert masks["w"].tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(("sparsity", "kept"), [(0.6, 2), (0.4, 3)])
def test_between_two_weights_the_percentile_agrees_with_exact_counts(sparsity: float, kept: int) -> None:
    weights = structure_of("weights")
    expected = project(WORKED, weights, kept)
    assert torch.equal(project_at_percentile(WORKED, weights, sparsity), expected)
    masks = Percentile().select({"w": energy(WORKED)}, {"w": (5,)}, sparsity, weights)
    assert torch.equal(masks["w"], expected != 0)


def test_a_layer_keeps_one_unit_where_all_lie_at_the_percentile() -> None:
    channels = structure_of("channels")
    scores = {"one": torch.ones(1, dtype=torch.float64), "equal": torch.ones(4, dtype=torch.float64)}
    masks = Percentile().select(scores, {"one": (5, 1, 3, 3), "equal": (5, 4, 3, 3)}, 0.5, channels)
    assert [int(mask.sum()) for mask in masks.values()] == [1, 1]


# -- invariants 4 and 5: rho and the learning rate ------------------------------------------------------------------


def test_rho_grows_with_the_updates_of_the_paper_settings(trial: Maker, duals: list[Duals]) -> None:
    trial("radmm", set={**FAST, "prune.epochs": 10, "rho": 1e-3, "growth": 1.3, "interval": 1}).execute()
    (admm,) = duals
    assert admm.updates == 9
    assert admm.rho == pytest.approx(0.0106045, abs=1e-7)


def test_the_learning_rate_starts_again_as_often_as_admm_updates() -> None:
    prune = RadmmSettings().prune
    assert prune.lr_period == RadmmSettings().interval == 30
    expected = {0: 0.01, 9: 0.01, 10: 1e-3, 19: 1e-3, 20: 1e-4, 29: 1e-4, 30: 0.01, 59: 1e-4, 60: 0.01}
    assert [learning_rate(prune, epoch) for epoch in expected] == pytest.approx(list(expected.values()))
    twenty = prune.model_copy(update={"lr_period": 20})
    expected = {0: 0.01, 6: 0.01, 7: 1e-3, 13: 1e-3, 14: 1e-4, 19: 1e-4, 20: 0.01}
    assert [learning_rate(twenty, epoch) for epoch in expected] == pytest.approx(list(expected.values()))


def test_interval_and_learning_rate_shrink_together(trial: Maker) -> None:
    made = trial("radmm", preset="paper")
    made.run.epochs_scale = 0.1
    assert made.run.span(made.method.settings.interval) == scaled(made.method.settings.prune, 0.1).lr_period == 3


def test_paper_settings() -> None:
    for dataset in ("cifar10", "svhn"):
        settings = build_settings(Radmm, Request("radmm", dataset=dataset, preset="paper"))
        for phase in (settings.pretrain, settings.prune, settings.finetune):  # type: ignore[attr-defined]
            assert (phase.eps, phase.alpha, phase.steps) == (8 / 255, 2 / 255, 10)
            assert (phase.optimizer, phase.momentum, phase.weight_decay, phase.batch_size) == ("sgd", 0.9, 1e-4, 128)
            assert (phase.epochs, phase.nesterov, phase.attack_bn) == (100, False, None)  # pgd's own: train


# -- invariants 6 and 7: what holds while it runs, and at the end --------------------------------------------------


@pytest.mark.parametrize("granularity", list(VARIANTS))
def test_duals_rest_for_one_interval_and_duplicates_are_sparse(
    trial: Maker, duals: list[Duals], granularity: str
) -> None:
    settings = {**FAST, "prune.epochs": 5, "interval": 2}
    made = trial("radmm", structure=VARIANTS[granularity], granularity=granularity, set=settings)
    made.execute()
    (admm,) = duals
    first = admm.seen[0]
    structure = structure_of(granularity)
    with made.run.targeting(0.5):
        kept = made.run.kept(made.model)
    for epoch, u, z, w in admm.seen:
        assert (epoch >= 2) == any(bool(dual.any()) for dual in u.values())
        for name, duplicate in z.items():
            assert epoch >= 2 or torch.equal(duplicate, first[2][name])
            alive = structure.reduce((duplicate != 0).double()) > 0
            assert int(alive.sum()) == kept[name]
            assert bool((w[name] != 0).all())


@pytest.mark.parametrize("granularity", list(VARIANTS))
@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_finetuning_keeps_what_was_cut_at_zero(trial: Maker, granularity: str, fidelity: str) -> None:
    seen = Watched()
    settings = {**FAST, "fidelity": fidelity}
    made = trial("radmm", structure=VARIANTS[granularity], granularity=granularity, set=settings, observers=[seen])
    plain = made.execute()
    structure = structure_of(granularity)
    assert len(seen.finetuned) == 6
    for state, masks in seen.finetuned:
        assert masks.digest() == made.model.masks.digest()
        assert all(not (state[name] * ~mask).any() for name, mask in masks.items())
    with made.run.targeting(0.5):
        kept = made.run.kept(made.model)
    for name in weight_names(plain):
        weight = plain.get_parameter(name)
        if name not in kept:
            assert bool((weight != 0).all())
            continue
        alive = structure.reduce(weight.abs().double()) > 0
        off = kept[name] - int(alive.sum())
        assert off == 0 if fidelity == "paper" else 0 <= off <= 1
        assert bool((structure.expand(alive, weight.shape) == (weight != 0)).all())


def test_the_cut_is_that_of_the_last_admm_weights(trial: Maker) -> None:
    seen = Watched()
    made = trial("radmm", sparsity=0.7, set={**FAST, "finetune.epochs": 0}, observers=[seen])
    made.execute()
    last = seen.states["prune/admm:end"]
    for name in weight_names(made.model.module):
        kept = int(made.model.masks[name].sum())
        assert torch.equal(made.model.fold(name), project(last[name], structure_of("weights"), kept))


# -- invariant 8: without a penalty ---------------------------------------------------------------------------------


def test_without_a_penalty_it_is_adversarial_training_and_magnitude_pruning(
    trial: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trial("radmm", set={**FAST, "rho": 0.0, "growth": 1.0})
    plain.execute()
    monkeypatch.setattr(ADMM, "loss_terms", lambda *_: None)
    without = trial("radmm", set=FAST)
    without.execute()
    assert plain.model.masks.digest() == without.model.masks.digest()
    state = plain.model.folded_state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in without.model.folded_state().items())


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_no_admm_epochs_are_magnitude_pruning(trial: Maker, sparsity: float) -> None:
    found = []
    for slug in ("radmm", "magnitude"):
        settings = {name: value for name, value in FAST.items() if slug == "radmm" or not name.startswith("prune.")}
        made = trial(slug, sparsity=sparsity, set=settings | ({"prune.epochs": 0} if slug == "radmm" else {}))
        made.execute()
        found.append(made.model.masks.digest())
    assert found[0] == found[1]


def test_the_penalty_draws_the_weights_to_the_sparse_set(trial: Maker) -> None:
    left = []
    descent = {"prune.optimizer": "sgd", "prune.lr": 0.05, "prune.lr_schedule": "constant", "prune.epochs": 10}
    descent |= {"interval": 4, "growth": 1.0}
    for rho in (0.0, 1.0):
        seen = Watched()
        trial("radmm", sparsity=0.7, set={**FAST, **descent, "rho": rho}, observers=[seen]).execute()
        weight = seen.states["prune/admm:end"]["3.weight"]
        kept = weight.numel() - int(0.7 * weight.numel())
        cut = project(weight, structure_of("weights"), kept)
        left.append(float((weight - cut).norm() / weight.norm()))
    assert left[1] < 0.5 * left[0]


# -- invariant 9: counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "kept"),
    [(1728, (173, 87, 18)), (5120, (512, 256, 52)), (2_359_296, (235_930, 117_965, 23_593))],
)
def test_kept_weights_of_a_layer(weights: int, kept: tuple[int, ...]) -> None:
    shapes = {"w": (weights, 1)}
    assert tuple(Uniform().kept(shapes, s, structure_of("weights"))["w"] for s in (0.9, 0.95, 0.99)) == kept


# -- structures, layers left dense ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_batch_norm_goes_with_its_filter(trial: Maker, fidelity: str) -> None:
    plain = trial("radmm", granularity="filters", set={**FAST, "fidelity": fidelity}).execute()
    for conv, norm in (("0", "1"), ("3", "4")):
        alive = plain.get_parameter(f"{conv}.weight").flatten(1).abs().sum(dim=1) != 0
        touched = plain.get_parameter(f"{norm}.bias") != 0
        assert torch.equal(touched, alive) if fidelity == "paper" else bool(touched.all())


@pytest.mark.parametrize(("granularity", "left"), [("filters", 3), ("channels", 3), ("columns", 6)])
def test_what_can_be_cut_out_physically(trial: Maker, granularity: str, left: int) -> None:
    """The first layer's filters are the second one's channels; columns leave them all something to read."""
    plain = trial("radmm", granularity=granularity, set=FAST).execute()
    report = shrink(plain, torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert len(report.module.get_parameter("0.weight")) == left


def test_layers_can_be_left_dense(trial: Maker, duals: list[Duals]) -> None:
    made = trial("radmm", set={**FAST, "leave_dense": ["classifier"]})
    plain = made.execute()
    assert set(duals[0].z) == set(made.model.masks) == {"0.weight", "3.weight"}
    assert bool((plain.get_parameter("8.weight") != 0).all())
    assert made.method.refuses(made.model.module) is None


def test_layers_to_be_left_dense_are_checked_before_anything_trains(trial: Maker) -> None:
    made = trial("radmm", set={"leave_dense": ["0", "3", "8"]})
    assert "no layer to prune" in made.method.refuses(made.model.module)
    with pytest.raises(UserError, match="'head'"):
        trial("radmm", set={"leave_dense": ["head"]}).method.refuses(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize(("arch", "layers"), [("resnet18", 21), ("vgg16", 16)])
def test_all_convolution_and_linear_weights_are_constrained(trial: Maker, arch: str, layers: int) -> None:
    with torch.device("meta"):
        network = MaskedModel(build(arch, num_classes=10))
    for granularity, expected in [("weights", layers), ("channels", layers), ("filters", None), ("columns", None)]:
        made = trial("radmm", preset="paper", granularity=granularity)
        names = made.method.constrained(network, made.run)
        linear = sum(isinstance(layer, nn.Linear) for layer in network.modules())
        assert len(names) == (layers - linear if expected is None else expected)


# -- fidelity: attached duals, the clean pass ----------------------------------------------------------------------


@pytest.mark.parametrize(("fidelity", "passes"), [("paper", 2), ("official", 3)])
def test_official_code_updates_batch_norm_with_clean_images_too(trial: Maker, fidelity: str, passes: int) -> None:
    settings = {**FAST, "prune.epochs": 0, "finetune.epochs": 0, "fidelity": fidelity, "pretrain.attack_bn": "train"}
    plain = trial("radmm", set=settings).execute()
    assert int(plain.get_buffer("1.num_batches_tracked")) == 3 * passes  # 24 images in batches of 8, one attack step


# -- the easier attack at first -----------------------------------------------------------------------------------


def batch(epoch: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(4, 1, 4, 4, generator=generator), torch.arange(4) % 3
    return Batch(x, y, torch.arange(4), seed=0, phase="prune", epoch=epoch)


def attacked(epochs: int, epoch: int, **options: float) -> Mapping[str, Tensor]:
    """Return the images that a step of the objective trains on, and those of the two attacks."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    settings = TrainSettings(objective="fgsm-pgd", epochs=epochs, options=options)
    objective, one = WarmedUpPGD(settings, Threat(eps=0.1, alpha=0.025, steps=3)), batch(epoch)
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    objective.loss(network, one)
    start = uniform_start(one.x, 0.1, one.uniform("start"))
    return {
        "trained": seen[-1],
        "fgsm": fgsm(network, one.x, one.y, eps=0.025),
        "pgd": pgd(network, one.x, one.y, eps=0.1, alpha=0.025, steps=3, start=start),
    }


@pytest.mark.parametrize(
    ("epochs", "epoch", "expected"),
    [(100, 0, "fgsm"), (100, 19, "fgsm"), (100, 20, "pgd"), (5, 0, "fgsm"), (5, 1, "pgd"), (10, 2, "pgd")],
)
def test_the_first_fifth_of_the_epochs_attacks_with_one_short_step(epochs: int, epoch: int, expected: str) -> None:
    found = attacked(epochs, epoch, warmup=0.2)
    assert torch.equal(found["trained"], found[expected])
    assert not torch.equal(found["fgsm"], found["pgd"])


def test_svhn_warms_up_and_duals_live_through_it(trial: Maker, duals: list[Duals]) -> None:
    settings = build_settings(Radmm, Request("radmm", dataset="svhn", preset="paper"))
    assert settings.prune.objective == "fgsm-pgd"  # type: ignore[attr-defined]
    assert settings.prune.options == {"warmup": 0.2}  # type: ignore[attr-defined]
    made = trial("radmm", set={**FAST, "prune.epochs": 5, "prune.objective": "fgsm-pgd", "interval": 1})
    made.run.objectives = {WarmedUpPGD.name: WarmedUpPGD}
    made.execute()
    assert duals[0].updates == 4
