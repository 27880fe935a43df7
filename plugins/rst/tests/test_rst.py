"""RST against its acceptance invariants: exact counts, what the search may change, and what it hands over."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx import MaskedModel, Observer, build
from apx.attacks import pgd
from apx.masks import weight_names
from apx.reparametrisation import LearnedScores
from apx.runner.request import Request, build_settings
from apx.training.optimisation import learning_rate
from apx_rst.method import RST, RSTSettings
from apx_rst.scores import initial_scores
from apx_rst.switching import RandomSwitch, transfer
from apx_rst.weights import draw_weights

Maker = Callable[..., Any]
FAST: Mapping[str, Any] = {"search.epochs": 2, "search.batch_size": 8, "search.steps": 2}
TUNE: Mapping[str, Any] = {"finetune.epochs": 1, "finetune.batch_size": 8}
SCORES = torch.tensor([0.3, -0.1, 0.8, -0.5, 0.2, 0.05, -0.9, 0.4, 0.6, -0.7])


class Seen(Observer):
    """Keeps states and mask digests at the ends of phases, and which parameters trained at each step."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.digests: dict[str, str] = {}
        self.trained: dict[str, set[str]] = {}
        self.steps = 0

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self._keep(f"{phase}:start", model)

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        self._keep(f"{phase}:end", model)

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.steps += 1
        self.trained[phase] = {name for name, p in model.named_parameters() if p.requires_grad}

    def _keep(self, moment: str, model: MaskedModel) -> None:
        self.states[moment] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.digests[moment] = model.current_masks().digest()


def searched(trial: Maker, **choice: Any) -> tuple[Seen, Any, nn.Module]:
    seen = Seen()
    made = trial("rst", observers=[seen], **{"set": FAST, "sparsity": 0.9, **choice})
    return seen, made, made.execute()


# -- invariant 1: counts ------------------------------------------------------------------------------------------


def kept(trial: Maker, model: MaskedModel, sparsity: float) -> dict[str, int]:
    run = trial("rst").run
    with run.targeting(sparsity):
        return run.kept(model)


@pytest.mark.parametrize(("weights", "sparsity", "count"), [(1728, 0.9, 173), (36864, 0.99, 369), (5120, 0.95, 256)])
def test_kept_weights_of_a_layer(trial: Maker, weights: int, sparsity: float, count: int) -> None:
    with torch.device("meta"):
        model = MaskedModel(nn.Linear(weights, 1))
    assert kept(trial, model, sparsity) == {"weight": count}


@pytest.mark.parametrize(
    ("arch", "total", "counts"),
    [
        ("resnet18", 11_164_352, (1_116_445, 558_228, 111_653)),
        ("vgg16_bn_linear", 14_715_584, (1_471_564, 735_785, 147_162)),
    ],
)
def test_kept_weights_of_the_published_networks(
    trial: Maker, arch: str, total: int, counts: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        model = MaskedModel(build(arch, num_classes=10))
    assert sum(weight.numel() for weight in model.prunable().values()) == total
    assert tuple(sum(kept(trial, model, s).values()) for s in (0.9, 0.95, 0.99)) == counts


# -- invariants 2 and 3: the mask and the straight-through gradient -----------------------------------------------


def test_the_highest_absolute_scores_are_kept() -> None:
    mask = LearnedScores(SCORES, kept=3).own_mask(torch.empty(10))
    assert mask.nonzero().flatten().tolist() == [2, 6, 9]


def test_every_score_gets_the_gradient_of_its_mask_entry() -> None:
    model = MaskedModel(nn.Linear(10, 1, bias=False).requires_grad_(False))
    with torch.no_grad():
        model.module.get_parameter("weight").copy_(torch.tensor([1.0, -1.0] * 5))
    model.reparametrise("weight", LearnedScores(SCORES[None], kept=3))
    model.refresh()
    model(torch.arange(1.0, 11.0)[None]).sum().backward()
    model.pull_back()
    (scores,) = model.reparametrisations.parameters()
    assert scores.grad.flatten().tolist() == [1, 2, 3, 4, 5, -6, -7, -8, 9, 10]
    assert model.module.get_parameter("weight").grad is None


# -- invariants 4 and 5: what the search starts from --------------------------------------------------------------


def test_weights_are_signed_constants() -> None:
    weight = draw_weights((64, 16, 3, 3), "signed-constant", torch.Generator().manual_seed(0))
    torch.testing.assert_close(weight.abs(), torch.full_like(weight, 0.1178511))
    assert 0.48 < float((weight > 0).double().mean()) < 0.52


@pytest.mark.parametrize(
    ("init", "std"), [("kaiming-normal", 0.11785), ("kaiming-uniform", 0.11785), ("xavier-normal", 0.05270)]
)
def test_other_weights_have_their_papers_spread(init: Any, std: float) -> None:
    weight = draw_weights((64, 16, 3, 3), init, torch.Generator().manual_seed(0))
    assert float(weight.std()) == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize(("units", "bound"), [((64, 16, 3, 3), 1 / 12), ((64, 16), 1 / 4)])
def test_scores_start_within_their_fan_in(units: tuple[int, ...], bound: float) -> None:
    scores = initial_scores(units, torch.Generator().manual_seed(0))
    assert scores.shape == units
    assert 0.98 * bound < float(scores.abs().max()) <= bound
    assert float(scores.min()) < 0


def test_scores_may_start_with_one_bound_everywhere() -> None:
    units = (64, 16, 3, 3)
    own, one = (initial_scores(units, torch.Generator().manual_seed(0), bound) for bound in ("fan-in", "one"))
    torch.testing.assert_close(one, 12 * own)


def test_rescaled_weights_keep_a_thinned_layers_scale(trial: Maker) -> None:
    made = trial("rst", sparsity=0.75, set={"rescale": True})
    made.method.prepare(made.model, made.run)
    torch.testing.assert_close(made.model.fold("3.weight").abs(), torch.full((8, 6, 3, 3), 2 * (2 / 54) ** 0.5))


# -- invariants 4, 6 and 9: what the search changes ---------------------------------------------------------------


def test_the_search_trains_scores_and_nothing_else(trial: Maker) -> None:
    seen, made, plain = searched(trial)
    weights = sum(plain.get_parameter(name).numel() for name in weight_names(plain))
    scores = [name for name in seen.states["prune/search:start"] if name.endswith(".scores")]
    assert seen.trained["prune/search"] == set(scores)
    assert sum(seen.states["prune/search:start"][name].numel() for name in scores) == weights
    for name, before in seen.states["prune/search:start"].items():
        moved = not torch.equal(before, seen.states["prune/search:end"][name])
        assert moved == (name in scores or "running" in name or "num_batches" in name), name
    assert seen.states["prune:end"]["module.3.weight"].abs().unique().tolist() == pytest.approx([(2 / 54) ** 0.5])
    assert made.run.seconds.keys() == {"prune", "prune/search"}


def test_attacks_leave_no_gradient_in_the_scores(trial: Maker) -> None:
    made = trial("rst")
    made.method.prepare(made.model, made.run)
    with made.run.targeting(0.9):
        made.method.attach_scores(made.model, made.run)
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    x_adv = pgd(made.model, x, y, eps=0.1, alpha=0.05, steps=3, mode="train")
    assert all(scores.grad is None for scores in made.model.reparametrisations.parameters())
    gradients = []
    for _ in range(2):  # the second without an attack before it
        made.model.refresh()
        functional.cross_entropy(made.model(x_adv), y).backward()
        made.model.pull_back()
        gradients.append([scores.grad.clone() for scores in made.model.reparametrisations.parameters()])
        made.model.zero_grad(set_to_none=True)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_batch_norm_sees_the_attacks_passes(trial: Maker) -> None:
    seen, _, plain = searched(trial)
    assert seen.steps == 6  # 24 images in batches of 8, twice
    assert int(plain.get_buffer("1.num_batches_tracked")) == 6 * 3


# -- invariants 7 and 8: the limits, one density everywhere -------------------------------------------------------


def test_keeping_everything_is_the_random_network(trial: Maker) -> None:
    made = trial("rst", sparsity=0.0, set={"search.epochs": 0})
    made.method.prepare(made.model, made.run)
    x = torch.rand(4, 1, 8, 8)
    dense = made.model.module.eval()(x)
    plain = made.execute().eval()
    assert all(bool(mask.all()) for mask in made.model.masks.values())
    assert torch.equal(plain(x), dense)
    assert not LearnedScores(SCORES, kept=0).own_mask(torch.empty(10)).any()


def test_one_density_in_every_layer_of_the_canonical_network(trial: Maker) -> None:
    _, made, plain = searched(trial)
    assert set(made.model.masks) == {"0.weight", "3.weight", "8.weight"}
    for name in weight_names(plain):
        weight = plain.get_parameter(name)
        assert abs(int((weight != 0).sum()) - 0.1 * weight.numel()) < 1
    for norm in ("1", "4"):
        assert bool((plain.get_parameter(f"{norm}.weight") == 1).all())
        assert bool((plain.get_parameter(f"{norm}.bias") == 0).all())
    assert bool((plain.get_parameter("8.bias") == 0).all())


# -- invariant 10: one random network -----------------------------------------------------------------------------


def test_searches_with_one_seed_share_their_weights_and_not_their_masks(trial: Maker) -> None:
    settings = {**FAST, "search.lr": 0.1}
    (_, sparser, _), (_, denser, _) = (searched(trial, sparsity=rate, set=settings) for rate in (0.9, 0.5))
    names = weight_names(sparser.model.module)
    for name in names:
        assert torch.equal(sparser.model.module.get_parameter(name), denser.model.module.get_parameter(name))
    assert any(bool((sparser.model.masks[name] & ~denser.model.masks[name]).any()) for name in names)
    _, other, _ = searched(trial, seed=1)
    assert not torch.equal(sparser.model.module.get_parameter("3.weight"), other.model.module.get_parameter("3.weight"))


def test_the_networks_own_weights_do_not_matter(trial: Maker) -> None:
    made = trial("rst")
    with torch.no_grad():
        for parameter in made.model.module.parameters():
            parameter.fill_(3.0)
    made.method.prepare(made.model, made.run)
    fresh = trial("rst")
    fresh.method.prepare(fresh.model, fresh.run)
    state = fresh.model.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.model.module.state_dict().items())


# -- invariant 11: R2S --------------------------------------------------------------------------------------------


class Says(nn.Module):
    """A network that always says one class."""

    def __init__(self, answer: int) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return functional.one_hot(torch.full((len(x),), self.answer), 3) + 0 * x.flatten(1).sum(dim=1, keepdim=True)


def test_a_switch_of_one_ticket_is_that_ticket(trial: Maker) -> None:
    _, _, plain = searched(trial)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(RandomSwitch([plain]).eval()(x), plain.eval()(x))
    with pytest.raises(ValueError, match="at least one ticket"):
        RandomSwitch([])


def test_tickets_are_drawn_equally_often() -> None:
    switch = RandomSwitch([Says(answer) for answer in range(3)], seed=1)
    answers = [int(switch(torch.rand(1, 1, 2, 2)).argmax()) for _ in range(1500)]
    assert [answers.count(answer) / 1500 for answer in range(3)] == pytest.approx([1 / 3] * 3, abs=0.04)
    assert answers[:50] != answers[50:100]
    again = RandomSwitch([Says(answer) for answer in range(3)], seed=1)
    assert [int(again(torch.rand(1, 1, 2, 2)).argmax()) for _ in range(50)] == answers[:50]


def test_transfer_is_a_matrix_of_attacked_and_answering_tickets(trial: Maker) -> None:
    tickets = [searched(trial, sparsity=sparsity)[2] for sparsity in (0.5, 0.7)]
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    accuracy = transfer([*tickets, Says(1)], x, y, eps=0.1, alpha=0.05, steps=2)
    assert accuracy.shape == (3, 3)
    assert accuracy[:, 2].tolist() == pytest.approx([1 / 3] * 3)
    assert accuracy[2, 0] == transfer([Says(1), tickets[0]], x, y, eps=0.1, alpha=0.05, steps=2)[0, 1]
    assert all(ticket.training for ticket in tickets) == tickets[0].training


# -- kernels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "longer"), [("resnet18", False), ("vgg16", True)])
def test_the_quick_search_of_vgg16s_kernels_is_longer(arch: str, longer: bool) -> None:
    weights, kernels = (build_settings(RST, Request("rst", structure=s, arch=arch)) for s in ("US", "S"))
    assert isinstance(weights, RSTSettings)
    assert isinstance(kernels, RSTSettings)
    assert (kernels.search.epochs, kernels.search.steps) == ((36, 2) if longer else (18, 1))
    assert (weights.search.epochs, weights.search.steps) == (18, 1)
    assert kernels.search.lr == weights.search.lr


def test_kernels_go_whole(trial: Maker) -> None:
    _, _, plain = searched(trial, granularity="kernels", sparsity=0.5)
    for name, count in (("0", 3), ("3", 24), ("8", 48)):
        kernels = plain.get_parameter(f"{name}.weight").flatten(2) if name != "8" else plain.get_parameter("8.weight")
        alive = kernels != 0 if name == "8" else (kernels != 0).any(dim=2)
        assert int(alive.sum()) == count
        assert name == "8" or bool((kernels[alive] != 0).all())


# -- finetuning ---------------------------------------------------------------------------------------------------


def test_finetuning_moves_surviving_weights_alone(trial: Maker) -> None:
    seen, made, plain = searched(trial, set={**FAST, **TUNE})
    assert seen.digests["prune:end"] == seen.digests["finetune:end"]
    assert seen.trained["finetune"] == {f"module.{name}" for name in weight_names(plain)}
    assert torch.equal(seen.states["prune:end"]["module.3.weight"], seen.states["finetune:start"]["module.3.weight"])
    assert not torch.equal(seen.states["prune:end"]["module.3.weight"], made.model.fold("3.weight"))
    assert torch.equal(plain.get_parameter("3.weight") != 0, made.model.masks["3.weight"])


def test_finetuning_may_start_from_fresh_weights(trial: Maker) -> None:
    seen, _, _ = searched(trial, set={**FAST, **TUNE, "finetune_from": "reinit"})
    fresh = seen.states["finetune:start"]["module.3.weight"]
    assert len(fresh.unique()) > 400
    assert seen.digests["prune:end"] == seen.digests["finetune:end"]


# -- the official recipe ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["cifar10", "svhn"])
def test_paper_settings(dataset: str) -> None:
    settings = build_settings(RST, Request("rst", dataset=dataset, preset="paper"))
    assert isinstance(settings, RSTSettings)
    search = settings.search
    assert (search.epochs, search.batch_size, search.momentum, search.weight_decay) == (160, 256, 0.9, 5e-4)
    assert (search.objective, search.eps, search.alpha, search.steps) == ("pgd", 8 / 255, 2 / 255, 7)
    assert (search.attack_bn, search.handover, search.nesterov) == ("train", "best", False)
    rates = [learning_rate(search, epoch) for epoch in (0, 79, 80, 119, 120, 159)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert (settings.init, settings.rescale, settings.normalise, settings.finetune.epochs) == (
        "signed-constant",
        False,
        True,
        0,
    )


def test_the_dense_network_is_trained_by_the_official_recipe_too(trial: Maker) -> None:
    method = trial("rst", preset="paper").method
    assert method.dense_settings() == method.settings.search
    assert not method.needs_dense
