"""TwinRep against its acceptance invariants: worked masks, exact counts, gradients, the pruning epoch."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx import MaskedModel, Observer, UserError, build
from apx.coupling import couple_filters
from apx.masks import Masks, count_zeros, weight_names
from apx.runner.request import Request, build_settings
from apx.specifics import Magnitude, masks_by
from apx.training.optimisation import learning_rate
from apx_twinrep.factors import Channel, Twin, equalise_filters, uniform_factor
from apx_twinrep.method import PruneOnce, TwinRep, TwinRepSettings, official_units

Maker = Callable[..., Any]
FAST = {"train.epochs": 3, "train.batch_size": 8, "train.steps": 1, "pruning_epoch": 2, "init": "balanced"}


class EveryStep(Observer):
    """Keeps the masks' digest after each step, loss and validation accuracy of each epoch."""

    def __init__(self) -> None:
        self.digests: dict[int, set[str]] = {}
        self.losses: list[float] = []
        self.robust: list[float] = []

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.digests.setdefault(epoch, set()).add(model.masks.digest())

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.losses.append(record["loss"])
        if record["phase"] == "train" and "val_robust" in record:
            self.robust.append(record["val_robust"])


def factorised(weights: Mapping[str, Any], factors: Mapping[str, Any], net: nn.Module) -> MaskedModel:
    """Put worked weights and factors into a network; square factors for convolutions, others element-wise."""
    model = MaskedModel(net)
    for name, values in weights.items():
        weight = net.get_parameter(name)
        with torch.no_grad():
            weight.copy_(torch.tensor(values).view_as(weight))
        factor = torch.tensor(factors[name])
        model.reparametrise(name, Channel(factor) if weight.dim() == 4 else Twin(factor.view_as(weight)))
    return model


def factor_of(model: MaskedModel, name: str) -> Tensor:
    """Return A of a weight, to be read or changed."""
    factor = model.reparametrisations[name.replace(".", "/")].factor
    assert isinstance(factor, Tensor)
    return factor


# -- invariant 1: the product -------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["US", "S"])
@pytest.mark.parametrize("init", ["official", "balanced"])
def test_forward_is_the_dense_network_of_the_product(trial: Maker, structure: str, init: str) -> None:
    made = trial("twinrep", structure=structure, set={**FAST, "init": init})
    made.method.prepare(made.model, made.run)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = made.method.export(made.model, made.run)
    for name in weight_names(plain):
        hidden, factor = (
            made.model.module.get_parameter(name),
            factor_of(made.model, name),
        )
        product = hidden * factor if structure == "US" else torch.einsum("pq,q...->p...", factor, hidden)
        torch.testing.assert_close(plain.get_parameter(name), product)
    assert torch.equal(made.model.eval()(x), plain.eval()(x))
    assert plain.state_dict().keys() == made.model.module.state_dict().keys()


def test_balanced_start_leaves_the_function_of_the_own_initialisation(trial: Maker) -> None:
    made = trial("twinrep", set=FAST)
    before = {name: tensor.clone() for name, tensor in made.model.module.state_dict().items()}
    made.method.prepare(made.model, made.run)
    for name, tensor in made.model.folded_state().items():
        torch.testing.assert_close(tensor, before[name])


# -- invariant 2: exact count, one mask ---------------------------------------------------------------------------


def test_scores_see_pruned_products_too(trial: Maker) -> None:
    made = trial("twinrep", set=FAST)
    made.execute()
    for name, score in made.method.scores(made.model).items():
        assert bool((score[~made.model.masks[name]] > 0).any())


@pytest.mark.parametrize("fidelity", ["paper", "official"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_masks_are_exact_and_computed_once(trial: Maker, fidelity: str, sparsity: float) -> None:
    seen = EveryStep()
    made = trial("twinrep", sparsity=sparsity, set={**FAST, "fidelity": fidelity}, observers=[seen])
    zeros, total = count_zeros(made.execute())
    assert zeros == round(sparsity * total)
    assert seen.digests[0] == {Masks({}).digest()}
    assert seen.digests[1] == seen.digests[2] == {made.model.masks.digest()}


def test_the_best_epoch_is_sought_after_pruning_only(trial: Maker) -> None:
    dense = {"pretrain.epochs": 10, "pretrain.objective": "nat", "pretrain.batch_size": 4, "pretrain.lr": 1e-2}
    stand = {"train.handover": "best", "train.val_steps": 1, "train.eps": 0.0, "train.lr": 1e-9, "init": "from-dense"}
    seen = EveryStep()
    zeros, total = count_zeros(trial("twinrep", sparsity=0.99, set=FAST | dense | stand, observers=[seen]).execute())
    assert seen.robust[0] > max(seen.robust[1:])
    assert zeros == round(0.99 * total)


def test_filters_of_all_layers_are_brought_to_the_scale_of_the_official_start() -> None:
    torch.manual_seed(0)
    net = build("resnet18", num_classes=3, width=4, image_size=16).train()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.mul_(1 + number % 5)
    x = torch.rand(8, 3, 16, 16)
    net(x)  # running statistics that are not those of a fresh network
    before = net.eval()(x)
    equalise_filters(net, x)
    torch.testing.assert_close(net(x), before, rtol=1e-2, atol=1e-3)  # batch norm's eps does not scale
    norms = [p.flatten(1).norm(dim=1).mean() for name, p in net.named_parameters() if p.dim() == 4]
    torch.testing.assert_close(torch.stack(norms), torch.full((len(norms),), 1 / 3))
    weight = torch.nn.init.kaiming_uniform_(torch.empty(256, 64, 3, 3), a=5**0.5)
    official = Channel(uniform_factor(weight, torch.rand(256, 256), channel=True))(weight, None)
    assert float(official.detach().flatten(1).norm(dim=1).mean()) == pytest.approx(1 / 3, rel=0.03)


# -- invariants 3 to 5: worked masks ------------------------------------------------------------------------------

WEIGHTS: dict[str, Any] = {"0.weight": [0.5, -2.0], "1.weight": [[1.0, -0.3], [0.05, 2.0]]}
FACTORS: dict[str, Any] = {"0.weight": [4.0, 0.1], "1.weight": [[0.5, 1.0], [10.0, -1.0]]}


@pytest.mark.parametrize(
    ("fidelity", "first", "second"),
    [("official", [[1, 0]], [[1, 0], [1, 1]]), ("paper", [[1, 0]], [[0, 0], [1, 1]])],
)
def test_worked_weights(trial: Maker, fidelity: str, first: list[Any], second: list[Any]) -> None:
    made = trial("twinrep", set={**FAST, "fidelity": fidelity})
    model = factorised(WEIGHTS, FACTORS, nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(2, 2)))
    torch.testing.assert_close(model.fold("0.weight"), torch.tensor([[2.0, -0.2]]))
    torch.testing.assert_close(model.fold("1.weight"), torch.tensor([[0.5, -0.3], [0.5, -2.0]]))
    with made.run.targeting(0.5):
        masks = made.method.masks(model, made.run)
    assert masks["0.weight"].int().tolist() == first
    assert masks["1.weight"].int().tolist() == second


CONVS: dict[str, Any] = {"0.weight": [1.0, 2.0, -1.0], "1.weight": [0.1, 0.2, 0.2, 1.0, 0.0, 0.0]}
MATRICES: dict[str, Any] = {"0.weight": [[1.0, 0, 1], [0, 0.5, 0], [1, 1, 0]], "1.weight": [[1.0, 0], [0, 1]]}


def two_convs() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False), nn.Flatten(), nn.Linear(128, 3)
    )


@pytest.mark.parametrize("fidelity", ["official", "paper"])
def test_worked_filters(trial: Maker, fidelity: str) -> None:
    made = trial("twinrep", sparsity=0.4, structure="S", set={**FAST, "fidelity": fidelity})
    model = factorised(CONVS, MATRICES, two_convs())
    scores = made.method.scores(model)
    torch.testing.assert_close(scores["0.weight"], torch.tensor([0.0, 1.0, 3.0]))
    torch.testing.assert_close(scores["1.weight"], torch.tensor([0.3, 1.0]))
    with made.run.targeting(0.4):
        masks = made.method.masks(model, made.run)
    assert masks["0.weight"].flatten(1).any(dim=1).tolist() == [False, True, True]
    assert masks["1.weight"].flatten(1).any(dim=1).tolist() == [False, True]


def test_a_layer_keeps_its_best_filter(trial: Maker) -> None:
    weights = {**CONVS, "0.weight": [0.01, 0.03, 0.02]}
    identity = {**MATRICES, "0.weight": torch.eye(3).tolist()}
    found = {}
    for fidelity in ("official", "paper"):
        made = trial("twinrep", sparsity=0.6, structure="S", set={**FAST, "fidelity": fidelity})
        with made.run.targeting(0.6):
            masks = made.method.masks(factorised(weights, identity, two_convs()), made.run)
        found[fidelity] = [masks[f"{n}.weight"].flatten(1).any(dim=1).tolist() for n in (0, 1)]
    assert found["official"] == [[False, True, False], [True, True]]  # 2 of 5 removed, 3 were asked
    assert found["paper"] == [[False, True, False], [False, True]]  # made up for elsewhere


def test_official_ratio_of_everything_is_refused() -> None:
    with pytest.raises(UserError, match="would remove all 3 units"):
        official_units({"w": torch.rand(3)}, 0.99, keep_one=False)


# -- invariant 6: gradients ---------------------------------------------------------------------------------------


def gradients(model: MaskedModel, mask: Tensor) -> tuple[Tensor, Tensor]:
    model.set_masks(Masks({"0.weight": mask}))
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    model(x).square().sum().backward()
    model.pull_back()
    weight, factor = model.module.get_parameter("0.weight"), next(model.reparametrisations.parameters())
    assert weight.grad is not None
    assert factor.grad is not None
    return weight.grad, factor.grad


def test_pruned_entries_have_no_gradient_in_either_twin() -> None:
    model = MaskedModel(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)))
    generator = torch.Generator().manual_seed(4)
    model.reparametrise("0.weight", Twin(torch.randn(4, 3, 3, 3, generator=generator)))
    mask = torch.rand(4, 3, 3, 3, generator=generator) > 0.5
    for gradient in gradients(model, mask):
        assert torch.equal(gradient != 0, mask)


def test_a_pruned_filter_still_feeds_others_through_the_channel_factor() -> None:
    model = MaskedModel(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)))
    model.reparametrise("0.weight", Channel(torch.randn(4, 4, generator=torch.Generator().manual_seed(5))))
    mask = torch.tensor([True, False, True, True]).view(4, 1, 1, 1).expand(4, 3, 3, 3).contiguous()
    weight, factor = gradients(model, mask)
    assert factor[1].tolist() == [0.0] * 4
    assert bool((weight[1] != 0).any())
    assert bool((factor[0] != 0).all())


# -- invariant 7: with A = 1, magnitude pruning -------------------------------------------------------------------


def test_without_factor_training_it_is_magnitude_pruning_during_training(trial: Maker) -> None:
    states = []
    for factors in (True, False):
        made = trial("twinrep", set=FAST)
        model, run, settings = made.model, made.run, made.method.settings.train
        names = weight_names(model.module)
        if factors:
            for name in names:
                model.reparametrise(name, Twin(torch.ones_like(model.module.get_parameter(name))))
            prune = PruneOnce(lambda: made.method.masks(model, run), 1)  # noqa: B023 - called within the iteration
        else:
            prune = PruneOnce(lambda: masks_by(Magnitude(), model, run), 1)  # noqa: B023
        with run.targeting(0.5):
            run.train("train", model, settings, parameters=list(model.module.parameters()), dynamics=prune)
        assert len(model.masks) == len(names)
        states.append(model.folded_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# -- invariants 8 to 11 -------------------------------------------------------------------------------------------


def test_learning_rate_steps_at_70_and_85() -> None:
    settings = TwinRepSettings().train
    rates = [learning_rate(settings, epoch - 1) for epoch in (69, 70, 84, 85)]
    assert rates == pytest.approx([0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize(("structure", "bound"), [("US", True), ("S", False)])
def test_official_start_is_uniform_in_both_factors(trial: Maker, structure: str, bound: bool) -> None:
    made = trial("twinrep", structure=structure, set={**FAST, "init": "official"})
    made.method.prepare(made.model, made.run)
    for name in weight_names(made.model.module):
        weight = made.model.module.get_parameter(name)
        factor = factor_of(made.model, name)
        fan_in = weight[0].numel() if structure == "US" else len(weight)
        assert factor.abs().max() <= fan_in**-0.5
        assert factor.abs().max() > 0.7 * fan_in**-0.5
        if bound:
            assert made.model.fold(name).abs().max() <= 1 / weight[0].numel()


@pytest.mark.parametrize("structure", ["US", "S"])
def test_masks_depend_on_the_product_alone(trial: Maker, structure: str) -> None:
    made = trial("twinrep", structure=structure, set={**FAST, "init": "official"})
    made.method.prepare(made.model, made.run)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with made.run.targeting(0.5):
        logits, masks = made.model.eval()(x), made.method.masks(made.model, made.run)
        with torch.no_grad():  # powers of two scale exactly
            for name in weight_names(made.model.module):
                made.model.module.get_parameter(name).mul_(4.0)
                factor_of(made.model, name).mul_(0.25)
        assert torch.equal(made.model(x), logits)
        assert made.method.masks(made.model, made.run).digest() == masks.digest()


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_filters_go_whole_and_linear_layers_stay(trial: Maker, fidelity: str) -> None:
    made = trial("twinrep", structure="S", sparsity=0.5, set={**FAST, "fidelity": fidelity})
    plain = made.execute()
    masks = made.model.masks
    assert "8.weight" not in masks
    assert bool((plain.get_parameter("8.weight") != 0).all())
    filters = {name: masks[name].flatten(1) for name in ("0.weight", "3.weight")}
    for rows in filters.values():
        assert torch.equal(rows.any(dim=1), rows.all(dim=1))
    removed = sum(int((~rows.any(dim=1)).sum()) for rows in filters.values())
    assert removed == round(0.5 * 14)
    coupled = couple_filters(made.model.module, {name: masks[name] for name in filters}, made.run.example)
    assert (set(masks) == set(coupled)) == (fidelity == "paper")
    assert isinstance(made.model.reparametrisations["8/weight"], Channel)


# -- the official recipe ------------------------------------------------------------------------------------------


def test_paper_settings() -> None:
    settings = TwinRepSettings()
    train = settings.train
    assert (train.epochs, settings.pruning_epoch, settings.init) == (100, 10, "official")
    assert (train.objective, train.eps, train.alpha, train.steps, train.beta) == ("trades", 0.031, 0.0078, 10, 6)
    assert (train.optimizer, train.lr, train.momentum, train.weight_decay) == ("sgd", 0.1, 0.9, 2e-4)
    assert (train.batch_size, train.nesterov, train.attack_bn) == (128, False, "eval")


def test_pruning_after_the_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"pruning_epoch = 101 is refused: .*behind the 100 epochs"):
        build_settings(TwinRep, Request("twinrep", preset="paper", set={"pruning_epoch": 101}))


def test_decay_acts_on_every_factor(trial: Maker) -> None:
    """Without a gradient, a step shrinks W and A alike: the l1 pressure on the product."""
    made = trial("twinrep", sparsity=0.0, set={**FAST, "train.objective": "nat", "train.optimizer": "sgd"})
    made.method.prepare(made.model, made.run)
    settings = made.method.settings.train.model_copy(
        update={"epochs": 1, "weight_decay": 0.5, "lr": 0.1, "lr_schedule": "constant", "momentum": 0.0}
    )
    name = "3.weight"
    made.model.set_masks(Masks({name: torch.zeros_like(made.model.module.get_parameter(name), dtype=torch.bool)}))
    pair = (made.model.module.get_parameter(name), factor_of(made.model, name))
    before = [tensor.detach().clone() for tensor in pair]
    made.run.train("train", made.model, settings)
    for was, now in zip(before, pair, strict=True):
        torch.testing.assert_close(now.detach(), was * 0.95**3)


def test_the_published_vgg_has_one_linear_layer() -> None:
    with torch.device("meta"):
        network = build("vgg16_bn_linear", num_classes=10)
    weights = [network.get_parameter(name) for name in weight_names(network)]
    assert [weight.dim() for weight in weights] == [4] * 13 + [2]


def test_official_pgd_starts_beside_the_image(trial: Maker) -> None:
    """The code starts PGD from x + 0.001 N(0, 1): without a step the adversarial batch is nearly the clean one."""
    moved = {}
    for fidelity in ("paper", "official"):
        settings = {**FAST, "fidelity": fidelity, "train.steps": 0, "train.epochs": 1, "pruning_epoch": 1}
        settings |= {"train.lr": 1e-12, "train.eps": 1.0, "train.batch_size": 24}
        seen = EveryStep()
        made = trial("twinrep", sparsity=0.0, set=settings, observers=[seen])
        x, y = made.run.data.train.images.float() / 255, made.run.data.train.labels
        clean = functional.cross_entropy(made.model.train()(x), y).item()
        made.execute()
        moved[fidelity] = abs(seen.losses[0] - clean)
    assert moved["official"] < 1e-3 < moved["paper"]
