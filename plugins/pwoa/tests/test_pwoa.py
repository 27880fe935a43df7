"""PwoA against its acceptance invariants: worked numbers, what each phase sees and changes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx import (
    Batch,
    Dynamics,
    MaskedModel,
    Masks,
    Observer,
    Position,
    TrainSettings,
    UserError,
    build,
    reported_sparsity,
)
from apx.admm import ADMM, project
from apx.datasets import Split
from apx.masks import weight_names
from apx.runner.request import Request, build_settings
from apx.specifics import structure_of
from apx.specifics.rates import Uniform
from apx.training.objectives import Threat
from apx.training.optimisation import learning_rate
from apx_pwoa import hsic as measure
from apx_pwoa import objective as objectives
from apx_pwoa.hsic import bottleneck, gaussian_kernel, hsic, label_kernel
from apx_pwoa.method import PwoA, PwoASettings
from apx_pwoa.objective import BottleneckDistillation
from apx_pwoa.percentile import Percentile
from apx_pwoa.taps import default_taps, tapped

Maker = Callable[..., Any]
FAST: dict[str, float] = {"pretrain.epochs": 1, "prune.epochs": 2, "finetune.epochs": 2, "mix": 0.0}
FAST |= {f"{phase}.batch_size": 8 for phase in ("pretrain", "prune", "finetune")}
FAST |= {f"{phase}.steps": 1 for phase in ("pretrain", "prune", "finetune")}
NO_HSIC = {"lambda_x": 0.0, "lambda_y": 0.0}
X = torch.tensor([[0.0, 0], [1, 0], [0, 2], [3, 1]])
Y = torch.tensor([0, 0, 1, 1])


def hsic_of(u: Tensor, v: Tensor) -> float:
    return float(hsic(gaussian_kernel(u, 5.0), gaussian_kernel(v, 5.0)))


def hsic_with_labels(u: Tensor, y: Tensor) -> float:
    return float(hsic(gaussian_kernel(u, 5.0), label_kernel(y)))


# -- invariants 1 to 3: HSIC --------------------------------------------------------------------------------------


def test_worked_values_of_hsic() -> None:
    assert hsic_with_labels(X, Y) == pytest.approx(0.99864, abs=1e-5)
    assert hsic_of(X, X) == pytest.approx(2.90278, abs=1e-5)
    z = torch.tensor([[1.0], [2], [4], [8]])
    assert hsic_of(z, X) == pytest.approx(2.90406, abs=1e-5)
    assert hsic_with_labels(z, Y) == pytest.approx(0.99573, abs=1e-5)


def test_hsic_ignores_where_features_lie_and_how_often_they_are_there() -> None:
    z = torch.tensor([[1.0], [2], [4], [8]])
    assert hsic_of(X + 100, z) == pytest.approx(hsic_of(X, z), abs=1e-6)
    assert hsic_of(X.double() + 1e4, z) == pytest.approx(hsic_of(X, z), abs=1e-9)
    assert hsic_of(X.repeat(1, 2), z) == pytest.approx(hsic_of(X, z), abs=1e-12)


def test_the_symmetric_form_is_the_one_sided_one() -> None:
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(12, 7, generator=generator), torch.rand(12, 30, generator=generator)
    centring = torch.eye(12).double() - 1 / 12
    one_sided = []
    for variable in (u, v):
        kernel = gaussian_kernel(variable, 5.0) @ centring
        one_sided.append(kernel @ torch.linalg.inv(kernel + 12 * measure.RIDGE * torch.eye(12).double()))
    assert hsic_of(u, v) == pytest.approx(float(torch.trace(one_sided[0] @ one_sided[1])), abs=1e-8)


@pytest.mark.parametrize("samples", [1, 2, 24])
def test_range_of_hsic(samples: int) -> None:
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(samples) % 3
    for z in (
        torch.randn(samples, 50, generator=generator),
        functional.one_hot(y, 3).float() * 100,
        torch.ones(samples, 4),
    ):
        assert -1e-12 <= hsic_with_labels(z, y) <= min(3, samples) - 1 + 1e-12
        assert -1e-12 <= hsic_of(z, torch.randn(samples, 9, generator=generator)) <= samples - 1 + 1e-12
    assert hsic_with_labels(torch.ones(samples, 4), y) == 0


def test_gradient_of_hsic_goes_through_the_solve() -> None:
    generator = torch.Generator().manual_seed(2)
    z = torch.relu(torch.randn(6, 4, generator=generator)).double().requires_grad_(True)
    x, y = torch.rand(6, 5, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.autograd.gradcheck(
        lambda z: bottleneck(x, y, [z, 2 * z], lambda_x=0.2, lambda_y=0.5, sigma=5.0), z, eps=1e-7, atol=1e-4
    )


def test_the_regulariser_adds_up_over_features() -> None:
    z = torch.tensor([[1.0], [2], [4], [8]])
    one = 0.2 * hsic_of(X, z) - 0.5 * hsic_with_labels(z, Y)
    other = 0.2 * hsic_of(X, X) - 0.5 * hsic_with_labels(X, Y)
    both = bottleneck(X, Y, [z, X], lambda_x=0.2, lambda_y=0.5, sigma=5.0)
    assert float(both) == pytest.approx(one + other)


# -- invariants 3, 4, 9: the objective ----------------------------------------------------------------------------


class Constant(nn.Module):
    """Gives the same logits whatever it sees, and remembers what it saw."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.layer = nn.Flatten()
        self.logits = nn.Parameter(torch.tensor([logits]))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.logits.expand(len(x), -1) + 0 * self.layer(x).sum()


def distillation(teacher: nn.Module, **options: Any) -> BottleneckDistillation:
    settings = TrainSettings(objective="kd-hsic", options={"temperature": 30.0, "weight": 1, **options})
    return BottleneckDistillation(settings, Threat(0.1, 0.05, 2), teacher)


def batch(count: int = 4, labels: Tensor | None = None) -> Batch:
    x = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(count) % 3 if labels is None else labels, torch.arange(count), 0, "finetune", 0)


def loss_of(objective: BottleneckDistillation, logits: list[float]) -> float:
    """Return the loss of a network of constant logits; detached, since torch warns of numbers made of gradients."""
    return float(objective.loss(Constant(logits), batch()).detach())


def test_worked_value_of_the_distillation() -> None:
    loss = loss_of(distillation(Constant([1.0, 1, 0])), [2.0, 0, -1])
    assert loss == pytest.approx(0.45004, abs=1e-5)
    assert loss / 3 == pytest.approx(0.15001, abs=1e-5)  # the official mean over entries; its alpha is K
    assert loss_of(distillation(Constant([1.0, 1, 0])), [1.0, 1, 0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("lambda_x", "lambda_y"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)])
def test_hsic_needs_both_weights(monkeypatch: pytest.MonkeyPatch, lambda_x: float, lambda_y: float) -> None:
    monkeypatch.setattr(objectives, "bottleneck", None)
    objective = distillation(Constant([1.0, 1, 0]), lambda_x=lambda_x, lambda_y=lambda_y)
    assert loss_of(objective, [2.0, 0, -1]) == pytest.approx(0.45004, abs=1e-5)


def test_hsic_joins_the_distillation() -> None:
    objective = distillation(Constant([1.0, 1, 0]), lambda_x=0.1, lambda_y=0.2, taps=["layer"])
    b = batch()
    expected = 0.45004 + 0.1 * hsic_of(b.x, b.x) - 0.2 * hsic_with_labels(b.x, b.y)
    assert loss_of(objective, [2.0, 0, -1]) == pytest.approx(expected, abs=1e-5)


def test_a_mixed_batch_is_attacked_for_student_and_teacher_alike() -> None:
    teacher, student = Constant([1.0, 1, 0]), Constant([2.0, 0, -1])
    b = batch()
    distillation(teacher, mix=1.0).loss(student, b)
    assert len(student.seen) == 2 + 1  # two steps of the attack
    assert torch.equal(teacher.seen[0], student.seen[-1])
    assert not torch.equal(teacher.seen[0], b.x)
    assert float((teacher.seen[0] - b.x).abs().max()) <= 0.1 + 1e-6


def test_batches_are_mixed_at_random_and_the_same_after_a_kill() -> None:
    def mixed(objective: BottleneckDistillation, count: int) -> list[bool]:
        return [objective.mixed(Constant([1.0, 0, 0]), b) is not b for b in (batch() for _ in range(count))]

    undisturbed = mixed(distillation(Constant([1.0, 1, 0]), mix=0.3), 200)
    assert 40 < sum(undisturbed) < 80
    first, second = (distillation(Constant([1.0, 1, 0]), mix=0.3) for _ in range(2))
    begun = mixed(first, 90)
    second.load_state(first.state())
    assert begun + mixed(second, 110) == undisturbed


# -- taps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "size", "expected"),
    [
        ("resnet18", 16, ["layer1.0:input", *(f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)), "linear:input"]),
        ("vgg16", 16, [*(f"features.{n}" for n in (6, 13, 23, 33)), "classifier.2:input", "classifier.4:input"]),
        ("vgg16_bn_linear", 32, [*(f"features.{n}" for n in (6, 13, 23, 33)), "classifier:input"]),
        ("cnn-small", 16, ["1", "3", "7:input"]),
    ],
)
def test_taps_of_an_architecture(arch: str, size: int, expected: list[str]) -> None:
    network = build(arch, num_classes=10, image_size=size, width=2)
    assert default_taps(network) == tuple(expected)
    with tapped(network, default_taps(network)) as features:
        network(torch.rand(3, 3, size, size))
    assert set(features) == set(expected)
    assert all(len(z) == 3 and bool((z >= 0).all()) for z in features.values())  # behind the activation


def test_taps_of_a_wide_resnet() -> None:
    taps = default_taps(build("wrn-28-4", num_classes=10, width=1))
    assert len(taps) == 1 + 12 + 1
    assert (taps[0], taps[1], taps[-1]) == ("block1.layer.0:input", "block1.layer.0", "fc:input")


def test_taps_without_layers_for_pools_and_activations() -> None:
    assert default_taps(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))) == ("0", "1")
    assert default_taps(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) == ("1:input",)


def hooks(module: nn.Module) -> int:
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in module.modules())


def test_hooks_are_gone_even_after_an_error() -> None:
    network = build("resnet18", num_classes=10, width=2)
    before = hooks(network)
    with pytest.raises(RuntimeError), tapped(network, default_taps(network)):
        network(torch.rand(1, 5, 16, 16))
    assert hooks(network) == before


def test_a_run_leaves_no_hook(trial: Maker) -> None:
    made = trial("pwoa", set=FAST)
    plain = made.execute()
    assert hooks(plain) == hooks(made.model) == 0


def test_unknown_taps_are_refused(trial: Maker) -> None:
    method = trial("pwoa", set={"taps": ["2", "nowhere:input", "elsewhere"]}).method
    sentence = method.refuses(build("cnn-small", num_classes=3))
    assert sentence == "setting taps names nowhere:input, elsewhere, which the network does not have"
    assert trial("pwoa").method.refuses(build("cnn-small", num_classes=3)) is None


# -- invariant 5: the projection ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("sparsity", "kept"), [(0.5, 5), (0.75, 3), (0.9, 1)])
@pytest.mark.parametrize("rates", [Uniform(), Percentile()])
def test_worked_projection(sparsity: float, kept: int, rates: Any) -> None:
    weight = torch.tensor([[0.1, -0.2, 0.3, -0.4, 0.5, 0.6, -0.7, 0.8, -0.9, 1.0]])
    before = weight.clone()
    structure = structure_of("weights")
    assert rates.kept({"w": weight.shape}, sparsity, structure) == {"w": kept}
    projected = project(weight, structure, kept)
    assert torch.equal(projected, torch.cat([torch.zeros(1, 10 - kept), weight[:, 10 - kept :]], dim=1))
    assert torch.equal(weight, before)


@pytest.mark.parametrize("rates", [Uniform(), Percentile()])
def test_counts(rates: Any) -> None:
    def kept(shape: tuple[int, ...], granularity: str, *sparsities: float) -> list[int]:
        return [rates.kept({"w": shape}, sparsity, structure_of(granularity))["w"] for sparsity in sparsities]

    assert kept((64, 3, 3, 3), "weights", 0.9, 0.95, 0.99) == [173, 87, 18]
    assert kept((64, 64, 3, 3), "filters", 0.5, 0.75, 0.9) == [32, 16, 7]
    assert kept((512, 64, 3, 3), "filters", 0.5, 0.75, 0.9) == [256, 128, 52]
    assert kept((2, 64, 3, 3), "filters", 0.9) == [1]


def test_percentiles_miss_the_share_by_one_unit_at_most() -> None:
    apart = set()
    for granularity in ("weights", "filters", "columns"):
        structure = structure_of(granularity)
        for units in range(1, 60):
            shape = {"weights": (units, 1), "filters": (units, 2), "columns": (2, units)}[granularity]
            for sparsity in (0.1, 0.25, 0.5, 0.75, 0.9):
                ours, theirs = (r.kept({"w": shape}, sparsity, structure)["w"] for r in (Uniform(), Percentile()))
                apart.add(ours - theirs)
    assert apart == {0, 1}


# -- invariants 6, 7, 10: the pruning phase -----------------------------------------------------------------------


@contextmanager
def watched(made: Any) -> Iterator[dict[str, Any]]:
    """Inside, `run.train` trains nothing; what it was given is in the dictionary."""
    given: dict[str, Any] = {}
    train = made.run.train
    made.run.train = lambda name, model, settings, **rest: given.update(rest, name=name, settings=settings)
    yield given
    made.run.train = train


def pruning(made: Any, sparsity: float) -> dict[str, Any]:
    made.run.dense = {name: tensor.clone() for name, tensor in made.model.module.state_dict().items()}
    with watched(made) as given, made.run.targeting(sparsity):
        given["masks"] = made.method.prune(made.model, made.run)
    return given


def test_penalty_and_learning_rate_through_fifty_epochs(trial: Maker) -> None:
    made = trial("pwoa", preset="paper")
    given = pruning(made, 0.5)
    admm, rho = given["dynamics"], {}
    assert isinstance(admm, ADMM)
    for epoch in range(50):
        admm.batch_start(made.model, batch(), Position(epoch, 0, 1))
        rho[epoch + 1] = admm.rho
    assert (rho[1], rho[3]) == (0.01, 0.01)
    assert (rho[4], rho[7]) == pytest.approx((0.0135, 0.018225))
    assert rho[46] == pytest.approx(0.901585, abs=1e-6)
    assert (rho[49], rho[50], admm.updates) == (1.0, 1.0, 16)
    rates = [learning_rate(given["settings"], epoch) for epoch in range(50)]
    assert rates[:7] == pytest.approx([1e-2, 1e-3, 1e-4, 1e-2, 1e-3, 1e-4, 1e-2])


def test_worked_update_of_duplicate_and_dual(trial: Maker) -> None:
    model = MaskedModel(nn.Sequential(nn.Conv2d(1, 4, 1, bias=False)))
    with torch.no_grad():
        model.module.get_parameter("0.weight").copy_(torch.tensor([1.0, -2, 3, -4]).view(4, 1, 1, 1))
    made = trial("pwoa", net=model.module, set={"rho": 1.0, "growth": 1.0})
    admm = pruning(made, 0.5)["dynamics"]
    admm.restart(made.model)
    assert float(admm.penalty(made.model).detach()) == pytest.approx(2.5)
    admm.update(made.model)
    assert admm.z["0.weight"].flatten().tolist() == [0, 0, 3, -4]
    assert admm.u["0.weight"].flatten().tolist() == [1, -2, 0, 0]
    assert float(admm.penalty(made.model).detach()) == pytest.approx(10)


def test_every_epoch_starts_at_a_new_projection(trial: Maker) -> None:
    made = trial("pwoa", set={"interval": 3})
    admm = pruning(made, 0.5)["dynamics"]
    admm.batch_start(made.model, batch(), Position(0, 0, 2))
    before = admm.z["3.weight"]
    with torch.no_grad():
        made.model.module.get_parameter("3.weight").mul_(2)
    admm.batch_start(made.model, batch(), Position(0, 1, 2))
    assert admm.z["3.weight"] is before
    admm.batch_start(made.model, batch(), Position(1, 0, 2))
    torch.testing.assert_close(admm.z["3.weight"], 2 * before)


def test_the_interval_shrinks_with_the_epochs(trial: Maker) -> None:
    made = trial("pwoa", preset="paper")
    made.run.epochs_scale = 0.34
    admm = pruning(made, 0.5)["dynamics"]
    for epoch in range(2):
        admm.batch_start(made.model, batch(), Position(epoch, 0, 2))
    assert admm.updates == 1


def without_norm() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))


def test_student_and_teacher_alike_leave_nothing_to_learn() -> None:
    net = without_norm()
    loss = distillation(without_norm()).loss(net, Batch(torch.rand(4, 1, 8, 8), Y, torch.arange(4), 0, "prune", 0))
    loss.backward()
    assert abs(float(loss.detach())) < 1e-4
    assert max(float(p.grad.abs().max()) for p in net.parameters() if p.grad is not None) < 1e-4


def test_without_penalty_the_pruning_phase_changes_nothing(trial: Maker) -> None:
    """A network without batch norm is its own teacher's equal, and stays it; with the penalty it moves."""
    moved = {}
    for rho in (0.0, 1.0):
        settings = {"rho": rho, "prune.optimizer": "sgd", "prune.lr": 0.01, "prune.weight_decay": 0.0}
        made = trial("pwoa", net=without_norm(), set=FAST | settings)
        made.run.dense = {name: t.clone() for name, t in made.model.module.state_dict().items()}
        made.run.prune("prune", made.model, made.method.prune, 0.5)
        now = made.model.module.state_dict()
        moved[rho] = max(float((now[name] - t)[now[name] != 0].abs().max()) for name, t in made.run.dense.items())
    assert moved[0.0] < 1e-6
    assert moved[1.0] > 1e-3


def test_sparsity_zero_is_a_proximal_term(trial: Maker) -> None:
    made = trial("pwoa")
    given = pruning(made, 0.0)
    given["dynamics"].restart(made.model)
    for name, z in given["dynamics"].z.items():
        assert torch.equal(z, made.model.module.get_parameter(name))
    assert float(given["dynamics"].penalty(made.model).detach()) == 0
    assert all(bool(mask.all()) for mask in given["masks"].values())
    assert reported_sparsity(trial("pwoa", sparsity=0.0, set=FAST).execute()) == 0


# -- invariant 8: the cut and what follows ------------------------------------------------------------------------


class Snapshots(Observer):
    """Keeps the model's state at the start and the end of each phase."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.masks: dict[str, Masks] = {}

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:start"] = {n: t.clone() for n, t in model.module.state_dict().items()}
        self.masks[f"{phase}:start"] = model.current_masks()

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:end"] = {n: t.clone() for n, t in model.module.state_dict().items()}
        self.masks[f"{phase}:end"] = model.current_masks()


@pytest.mark.parametrize("granularity", ["weights", "columns", "filters"])
def test_finetuning_keeps_the_support(trial: Maker, granularity: str) -> None:
    seen = Snapshots()
    made = trial("pwoa", sparsity=0.75, granularity=granularity, set=FAST, observers=[seen])
    plain = made.execute()
    assert not any(seen.masks[moment] for moment in ("pretrain:end", "prune:start", "prune/admm:end"))
    masks = seen.masks["finetune:start"]
    assert masks.digest() == made.model.masks.digest()
    structure = structure_of(granularity)
    cut = seen.states["prune/admm:end"]
    for name in ("0.weight", "3.weight"):
        weight = plain.get_parameter(name).detach()
        kept = Uniform().kept({"w": weight.shape}, 0.75, structure)["w"]
        assert torch.equal(weight != 0, masks[name])
        assert torch.equal(masks[name], project(cut[name], structure, kept) != 0)
        assert not torch.equal(weight, cut[name] * masks[name])
    assert weight_names(plain) == ["0.weight", "3.weight", "8.weight"]
    assert bool((plain.get_parameter("8.weight") != 0).all())


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_batch_norm_goes_with_its_filter(trial: Maker, fidelity: str) -> None:
    made = trial("pwoa", sparsity=0.5, structure="S", set={**FAST, "fidelity": fidelity})
    plain = made.execute()
    dead = (plain.get_parameter("0.weight").flatten(1) == 0).all(dim=1)
    assert int(dead.sum()) == 3
    beside = torch.cat([plain.get_parameter("1.weight")[dead], plain.get_parameter("1.bias")[dead]])
    assert bool((beside != 0).any()) == (fidelity == "official")
    assert ("1.bias" in made.model.masks) == (fidelity == "paper")


def test_the_teacher_is_the_dense_network_and_stands_still(trial: Maker) -> None:
    seen = Snapshots()
    made = trial("pwoa", sparsity=0.75, set=FAST, observers=[seen])
    made.execute()
    teacher = made.method.teacher(made.model, made.run)
    for name, tensor in seen.states["pretrain:end"].items():
        assert torch.equal(teacher.state_dict()[name], tensor)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


# -- invariant 9: no attack, no labels ----------------------------------------------------------------------------


def forbidden(*args: Any, **rest: Any) -> Tensor:
    raise AssertionError("an attack was called")


@pytest.fixture
def no_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    import apx.attacks
    import apx.training.objectives
    import apx.training.trainer

    for module in (apx.attacks, apx.training.objectives, apx.training.trainer, objectives):
        monkeypatch.setattr(module, "pgd", forbidden)


def pruned_and_finetuned(made: Any) -> dict[str, Tensor]:
    """Run all but the pretraining, from the network as it is."""
    made.run.dense = {name: tensor.clone() for name, tensor in made.model.module.state_dict().items()}
    return made.execute().state_dict()


@pytest.mark.usefixtures("no_attack")
def test_no_attack_is_called(trial: Maker) -> None:
    pruned_and_finetuned(trial("pwoa", set=FAST))
    with pytest.raises(AssertionError, match="an attack was called"):
        pruned_and_finetuned(trial("pwoa", set={**FAST, "mix": 1.0}))


@pytest.mark.parametrize(("own", "label_free"), [(NO_HSIC, True), ({"lambda_x": 0.1, "lambda_y": 0.1}, False)])
def test_labels_enter_through_hsic_alone(trial: Maker, own: Mapping[str, float], label_free: bool) -> None:
    ends = []
    for shift in (0, 5):
        made = trial("pwoa", set={**FAST, **own})
        train = made.run.data.train
        relabelled = replace(made.run.data, train=Split(train.images, train.labels.roll(shift) // (1 + (shift > 0))))
        made.run.environment = replace(made.run.environment, data=relabelled)
        ends.append(pruned_and_finetuned(made))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0]) == label_free


@pytest.mark.parametrize("in_prune", [False, True])
def test_hsic_in_the_pruning_phase_is_an_option(trial: Maker, in_prune: bool) -> None:
    settings = trial("pwoa", preset="paper", set={"hsic_in_prune": in_prune}).method.settings
    assert settings.finetune.options["lambda_x"] == 2e-5
    assert settings.prune.options["lambda_x"] == (2e-5 if in_prune else 0)
    assert settings.prune.options["lambda_y"] == (1e-4 if in_prune else 0)
    assert settings.pretrain.options == {}


# -- the official recipe ------------------------------------------------------------------------------------------


def test_paper_settings() -> None:
    settings = PwoASettings()
    prune, finetune = settings.prune, settings.finetune
    assert (prune.epochs, prune.lr, settings.interval, settings.rho) == (50, 0.01, 3, 0.01)
    assert (finetune.epochs, finetune.lr, finetune.lr_schedule) == (100, 0.005, "cosine")
    for phase in (prune, finetune):
        assert (phase.optimizer, phase.momentum, phase.weight_decay, phase.batch_size) == ("sgd", 0.9, 1e-4, 128)
        assert (phase.objective, phase.eps, phase.alpha, phase.steps) == ("kd-hsic", 8 / 255, 2 / 255, 10)
    assert (settings.temperature, settings.lambda_x, settings.lambda_y, settings.sigma) == (30, 2e-5, 1e-4, 5)
    hundred = build_settings(PwoA, Request("pwoa", preset="paper", dataset="cifar100"))
    assert (hundred.lambda_x, hundred.lambda_y) == (5e-7, 2e-6)  # type: ignore[attr-defined]


def test_a_share_of_batches_is_between_none_and_all() -> None:
    with pytest.raises(UserError, match=r"setting mix = 1.5 is refused"):
        build_settings(PwoA, Request("pwoa", set={"mix": 1.5}))


def test_nothing_is_hidden_in_the_dynamics(trial: Maker) -> None:
    """The finetuning has the trainer's plain dynamics: what it carries is the optimiser's and the objective's."""
    made = trial("pwoa", set=FAST)
    given: list[Dynamics | None] = []
    train = made.run.train

    def spy(name: str, model: MaskedModel, settings: TrainSettings, **rest: Any) -> None:
        given.append(rest.get("dynamics"))
        train(name, model, settings, **rest)

    made.run.train = spy
    made.execute()
    assert [type(dynamics) for dynamics in given] == [type(None), ADMM, type(None)]
