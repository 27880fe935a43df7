"""Li20 against its acceptance invariants: normalised ranking, rewinding, exact zeros, rates, FGSM from the image."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apx import MaskedModel, Observer, Position, build
from apx.masks import Masks, count_zeros, weight_names
from apx.runner.report import deviations
from apx.runner.request import Request, build_settings, resolve
from apx.training.optimisation import learning_rate
from apx_li20.method import Li20, Li20Settings, Slowing, normalised_magnitudes, with_dead_batch_norms

Maker = Callable[..., Any]
FAST = {f"{phase}.batch_size": 8 for phase in ("search", "train")}
FAST |= {"search.epochs": 2, "train.epochs": 2}


class Seen(Observer):
    """Keeps states at the borders of phases, masks' digests and leaks after each step."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.digests: dict[str, set[str]] = {}
        self.leaks = 0

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:start"] = {n: t.clone() for n, t in model.module.state_dict().items()}

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:end"] = {n: t.clone() for n, t in model.module.state_dict().items()}

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.digests.setdefault(phase, set()).add(model.masks.digest())
        self.leaks += sum(int((model.fold(name) * ~mask).count_nonzero()) for name, mask in model.masks.items())


def trained(trial: Maker, net: nn.Module, sparsity: float) -> tuple[Any, Masks]:
    made = trial("li20", sparsity=sparsity, net=net, set={"search.epochs": 0})
    with made.run.targeting(sparsity):
        return made, made.method.prune(made.model, made.run)


def two_layers() -> nn.Module:
    """A = [[1, -2], [3, 4]] and B = [[.1, -.2], [.3, .4], [.5, -.6]], a batch norm after A."""
    a, b = nn.Linear(2, 2, bias=False), nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        a.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        b.weight.copy_(torch.tensor([[0.1, -0.2], [0.3, 0.4], [0.5, -0.6]]))
    return nn.Sequential(nn.AvgPool2d((8, 4)), nn.Flatten(), a, nn.BatchNorm1d(2), nn.ReLU(), b)


# -- invariants 1 to 3: ranking and counts ------------------------------------------------------------------------


def test_magnitudes_are_divided_by_their_layers_mean(trial: Maker) -> None:
    made = trial("li20", net=two_layers())
    a, b = normalised_magnitudes(made.model, made.run).values()
    torch.testing.assert_close(a, torch.tensor([[0.4, 0.8], [1.2, 1.6]]))
    torch.testing.assert_close(
        b, torch.tensor([[0.2857, 0.5714], [0.8571, 1.1429], [1.4286, 1.7143]]), atol=1e-4, rtol=0
    )


def test_worked_masks(trial: Maker) -> None:
    _, masks = trained(trial, two_layers(), 0.5)
    assert masks["2.weight"].tolist() == [[False, False], [True, True]]
    assert masks["3.weight"].tolist() == [False, True]
    assert masks["5.weight"].tolist() == [[False, False], [False, True], [True, True]]


def test_a_batch_norm_channel_goes_with_its_empty_filter_and_linear_biases_stay(trial: Maker) -> None:
    made = trial("li20")
    names = weight_names(made.model.module)
    masks = {name: torch.ones_like(made.model.module.get_parameter(name), dtype=torch.bool) for name in names}
    masks["0.weight"][2] = False
    masks["8.weight"][1] = False
    coupled = with_dead_batch_norms(Masks(masks), made.model, made.run)
    for tensor in ("1.weight", "1.bias", "1.running_mean"):
        assert coupled[tensor].tolist() == [True, True, False, True, True, True]
    assert bool(coupled["4.weight"].all())
    assert "8.bias" not in coupled


@pytest.mark.parametrize("factor", [1e-3, 0.5, 40.0])
def test_a_layers_scale_does_not_matter(trial: Maker, factor: float) -> None:
    net = build("cnn-small", num_classes=3, in_channels=1, image_size=8, width=4)
    _, masks = trained(trial, net, 0.9)
    scaled = build("cnn-small", num_classes=3, in_channels=1, image_size=8, width=4)
    scaled.load_state_dict(net.state_dict())
    with torch.no_grad():
        scaled[2].weight.mul_(factor)
    _, again = trained(trial, scaled, 0.9)
    differing = sum(int((masks[name] != again[name]).sum()) for name in weight_names(net))
    assert differing <= 2  # two neighbours may change places by rounding


@pytest.mark.parametrize(("arch", "total"), [("vgg16_bn_mlp512", 14_977_728), ("resnet18", 11_164_352)])
def test_the_published_networks_weights(arch: str, total: int) -> None:
    with torch.device("meta"):
        net = build(arch, num_classes=10)
    assert sum(net.get_parameter(name).numel() for name in weight_names(net)) == total


# -- invariants 4, 5, 9, 10: rewinding and retraining -------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["1S", "IT"])
def test_the_ticket_starts_where_the_search_started(trial: Maker, schedule: str) -> None:
    seen = Seen()
    made = trial("li20", sparsity=0.8, schedule=schedule, set={**FAST, "rounds": 2}, observers=[seen])
    plain = made.execute()
    prefix = "" if schedule == "1S" else "round-1/"
    initial, start = seen.states[f"{prefix}prune/search:start"], seen.states["train:start"]
    moved = seen.states[f"{prefix}prune/search:end"]
    assert not torch.equal(initial["3.weight"], moved["3.weight"])
    for name, tensor in initial.items():
        assert torch.equal(tensor, start[name]), name
    assert bool((start["1.running_mean"] == 0).all())
    assert bool((start["1.running_var"] == 1).all())
    assert seen.leaks == 0
    assert len(seen.digests["train"]) == 1
    zeros, total = count_zeros(plain)
    assert zeros == round(0.8 * total)


def test_every_round_starts_over(trial: Maker) -> None:
    seen = Seen()
    trial("li20", sparsity=0.8, schedule="IT", set={**FAST, "rounds": 3}, observers=[seen]).execute()
    starts = [seen.states[f"round-{n}/prune/search:start"] for n in (1, 2, 3)]
    for later in starts[1:]:
        assert all(torch.equal(tensor, later[name]) for name, tensor in starts[0].items())


def test_reinitialised_tickets_share_the_mask_alone(trial: Maker) -> None:
    found = []
    for restart in ("rewind", "reinit"):
        seen = Seen()
        made = trial("li20", sparsity=0.8, set={**FAST, "restart": restart}, observers=[seen])
        made.execute()
        found.append((made.model.masks.digest(), seen.states["train:start"]))
    (mask, rewound), (same, drawn) = found
    assert mask == same
    for name in ("0.weight", "3.weight", "8.weight"):
        assert not bool((rewound[name] == drawn[name]).any())
    assert torch.equal(rewound["1.running_var"], drawn["1.running_var"])


def test_no_sparsity_is_training_from_the_start(trial: Maker) -> None:
    found = []
    for epochs in (0, 2):
        made = trial("li20", sparsity=0.0, set={**FAST, "search.epochs": epochs})
        found.append(made.execute().state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


# -- invariants 6 and 7: steps and rates --------------------------------------------------------------------------


def test_ratios_of_the_iterative_variant() -> None:
    percents = [
        [round(100 * target, 3) for target in Slowing(n).targets(s)] for n, s in ((1, 0.8), (5, 0.8), (10, 0.9))
    ]
    assert percents[0] == [80]
    assert percents[1] == [21.818, 40, 55.385, 68.571, 80]
    assert percents[2][-2:] == [85.263, 90]


def paper(arch: str, dataset: str = "cifar10") -> Li20Settings:
    settings = build_settings(Li20, Request("li20", preset="paper", dataset=dataset, arch=arch))
    assert isinstance(settings, Li20Settings)
    return settings


@pytest.mark.parametrize(
    ("arch", "rates"),
    [
        ("vgg16", {0: 0.01, 1: 0.02, 8: 0.09, 9: 0.1, 49: 0.1, 50: 0.01, 74: 0.01, 75: 0.001}),
        ("resnet18", {0: 0.05, 1: 0.055, 5: 0.075, 10: 0.1, 50: 0.01, 75: 0.001}),
    ],
)
def test_the_tickets_rate_is_warmed_up(arch: str, rates: dict[int, float]) -> None:
    train = paper(arch).train
    assert [learning_rate(train, epoch) for epoch in rates] == pytest.approx(list(rates.values()))


def test_paper_settings() -> None:
    vgg, resnet, svhn = paper("vgg16"), paper("resnet18"), paper("resnet18", "svhn")
    assert (vgg.search.lr, resnet.search.lr, svhn.search.lr) == (0.01, 0.05, 0.01)
    assert (vgg.search.batch_size, resnet.train.batch_size, svhn.train.batch_size) == (64, 128, 128)
    assert (vgg.bn_weight, vgg.linear_std, resnet.bn_weight, resnet.linear_std) == (0.5, 0.01, 1.0, None)
    for phase in (vgg.search, vgg.train, resnet.search, resnet.train):
        assert (phase.epochs, phase.momentum, phase.weight_decay, phase.eps) == (100, 0.9, 1e-4, 8 / 255)
        assert (phase.attack_bn, phase.options["start"]) == ("eval", "none")
    assert (vgg.search.objective, vgg.train.objective, vgg.train.alpha, vgg.train.steps) == (
        "fgsm-rs",
        "pgd",
        2 / 255,
        10,
    )


@pytest.mark.parametrize(("arch", "dataset"), [("resnet18", "cifar10"), ("vgg16", "cifar10"), ("resnet18", "svhn")])
def test_the_dense_network_beside_a_ticket_is_trained_as_the_ticket_in_the_paper_and_as_others_in_quick(
    arch: str, dataset: str
) -> None:
    settings = paper(arch, dataset)
    assert settings.pretrain == settings.train
    own, other = (resolve(Request(slug, arch=arch, device="cpu")).method.dense_settings() for slug in ("li20", "hydra"))
    assert own.options == {"start": "uniform"}  # what is written out here is the objective's default
    assert own.model_copy(update={"options": {}}) == other


@pytest.mark.parametrize(("arch", "named"), [("resnet18", False), ("vgg16", True)])
def test_a_report_compares_with_the_papers_setting_for_its_network(arch: str, named: bool) -> None:
    said = deviations(resolve(Request("li20", arch=arch, device="cpu")))  # quick starts as the paper's ResNet18
    assert any(sentence.startswith("bn_weight") for sentence in said) is named
    assert any(sentence.startswith("train: ") for sentence in said)


# -- initialisation, and fidelity ---------------------------------------------------------------------------------


def test_initial_weights_are_drawn_from_the_seed(trial: Maker) -> None:
    states = []
    for seed in (0, 0, 1):
        made = trial("li20", seed=seed, set={"init": "official", "bn_weight": 0.5, "linear_std": 0.01})
        made.method.prepare(made.model, made.run)
        states.append(made.model.module.state_dict())
    first, same, other = states
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["3.weight"], other["3.weight"])
    assert float(first["3.weight"].std()) == pytest.approx((2 / (9 * 8)) ** 0.5, rel=0.15)
    assert float(first["8.weight"].std()) == pytest.approx(0.01, rel=0.3)
    assert bool((first["1.weight"] == 0.5).all())
    assert not first["8.bias"].any()


def test_a_networks_own_initial_weights_are_kept_where_asked_for(trial: Maker) -> None:
    made = trial("li20", set={"init": "network", "search.epochs": 1, "train.epochs": 0})
    own = {name: tensor.clone() for name, tensor in made.model.module.state_dict().items()}
    made.execute()
    rewound = made.model.module.state_dict()
    assert all(torch.equal(own[name], rewound[name]) for name in own)


def test_official_biases_shrink_with_every_step(trial: Maker) -> None:
    made, masks = trained(trial, trial("li20").model.module, 0.5)
    made = trial("li20", set={"fidelity": "official"})
    made.model.set_masks(masks)
    with torch.no_grad():
        made.model.module[8].bias.fill_(1.0)  # type: ignore[index]
    decay = made.method.dynamics(made.model, made.run)
    optimizer = torch.optim.SGD(made.model.module.parameters(), lr=0.1)
    share = masks["8.weight"].float().mean(dim=1)
    decay.phase_start(made.model, optimizer)
    decay.after_step(made.model, optimizer, Position(0, 0, 3))
    torch.testing.assert_close(made.model.module[8].bias.detach(), share**2)  # type: ignore[index]
    assert trial("li20").method.dynamics(made.model, made.run) is None
