"""HYDRA against its acceptance invariants: worked numbers, exact counts, what each phase may change."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from testing_support import Snapshots
from torch import Tensor, nn

from apx import MaskedModel, build, reported_sparsity
from apx.masks import weight_names
from apx.reparametrisation import LearnedScores, scaled_score_init
from apx.training.optimisation import learning_rate
from apx_hydra.method import Hydra, HydraSettings, searched_parameters

Maker = Callable[..., Any]
FAST = {"pretrain.epochs": 1, "prune.epochs": 1, "finetune.epochs": 1}
FAST |= {f"{phase}.batch_size": 8 for phase in ("pretrain", "prune", "finetune")}
FAST |= {f"{phase}.steps": 1 for phase in ("pretrain", "prune", "finetune")}


def worked_layer() -> MaskedModel:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.4, -0.8, 0.1, 0.2], [-0.05, 0.6, -0.3, 0.0]]))
        layer.bias.zero_()
    return MaskedModel(layer)


def backward(model: MaskedModel) -> Tensor:
    model.refresh()
    out = model(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    out.sum().backward()
    model.pull_back()
    return out.detach()


# -- invariants 1 and 2: worked numbers ---------------------------------------------------------------------------


def test_scores_start_at_the_scaled_weights() -> None:
    expected = [[0.61237, -1.22474, 0.15309, 0.30619], [-0.07655, 0.91856, -0.45928, 0.0]]
    scores = scaled_score_init(worked_layer().module.get_parameter("weight"))
    torch.testing.assert_close(scores, torch.tensor(expected), atol=1e-5, rtol=0)


def test_search_gives_every_score_a_gradient_and_weights_none() -> None:
    model = worked_layer()
    weight = model.module.get_parameter("weight")
    model.reparametrise("weight", LearnedScores(scaled_score_init(weight), kept=4))
    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    out = backward(model)
    assert model.fold("weight").tolist() == torch.tensor([[0.4, -0.8, 0, 0], [0, 0.6, -0.3, 0]]).tolist()
    torch.testing.assert_close(out, torch.tensor([[-1.2, 0.3]]))
    (scores,) = model.reparametrisations.parameters()
    torch.testing.assert_close(scores.grad, torch.tensor([[0.4, 1.6, 0.3, 0.8], [0.05, 1.2, 0.9, 0.0]]))
    assert weight.grad is None
    assert model.module.get_parameter("bias").grad is None


def test_finetuning_gives_surviving_weights_a_gradient_alone() -> None:
    model = worked_layer()
    model.reparametrise("weight", LearnedScores(scaled_score_init(model.module.get_parameter("weight")), kept=4))
    masks = model.current_masks()
    model.drop_reparametrisations()
    model.set_masks(masks)
    backward(model)
    assert model.module.get_parameter("weight").grad.tolist() == [[1, 2, 0, 0], [0, 2, 3, 0]]  # type: ignore[union-attr]


# -- invariant 3: no search is magnitude pruning ------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_no_search_is_magnitude_pruning_bit_for_bit(trial: Maker, sparsity: float) -> None:
    found = []
    for slug in ("hydra", "magnitude"):
        settings = {**FAST, "finetune.epochs": 0}
        settings = {k: v for k, v in settings.items() if slug == "hydra" or not k.startswith("prune.")}
        made = trial(slug, sparsity=sparsity, set=settings | ({"prune.epochs": 0} if slug == "hydra" else {}))
        made.execute()
        found.append(made.model.masks.digest())
    assert found[0] == found[1]


# -- invariant 4: counts ------------------------------------------------------------------------------------------


def hydra(trial: Maker, **choice: Any) -> Hydra:
    return trial("hydra", preset="paper", **choice).method


@pytest.mark.parametrize(
    ("weights", "kept"), [(1728, (173, 87, 18)), (2560, (256, 128, 26)), (5120, (512, 256, 52)), (10, (1, 1, 1))]
)
def test_kept_weights_of_a_layer(trial: Maker, weights: int, kept: tuple[int, ...]) -> None:
    weight = torch.empty(weights, 1, device="meta")
    assert tuple(hydra(trial).kept(weight, sparsity) for sparsity in (0.9, 0.95, 0.99)) == kept


@pytest.mark.parametrize(
    ("arch", "total", "kept"),
    [
        ("resnet18", 11_164_352, (1_116_445, 558_228, 111_653)),
        ("vgg16", 15_302_848, (1_530_291, 765_149, 153_035)),
    ],
)
def test_kept_weights_of_the_published_networks(
    trial: Maker, arch: str, total: int, kept: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        network = build(arch, num_classes=10)
    weights = [network.get_parameter(name) for name in weight_names(network)]
    method = hydra(trial)
    assert sum(weight.numel() for weight in weights) == total
    assert tuple(sum(method.kept(w, sparsity) for w in weights) for sparsity in (0.9, 0.95, 0.99)) == kept


def test_float_noise_does_not_change_a_count(trial: Maker) -> None:
    weight = torch.empty(100, 1, device="meta")
    assert 0.29 * 100 < 29
    assert hydra(trial).kept(weight, sparsity=0.29) == 71


def test_kept_filters_round_and_never_vanish(trial: Maker) -> None:
    method = hydra(trial, structure="S")
    assert [method.kept(torch.empty(n, 1, device="meta"), 0.9) for n in (3, 15, 64)] == [1, 2, 6]


# -- invariant 5: what each phase changes -------------------------------------------------------------------------


@pytest.fixture
def unstructured(trial: Maker) -> tuple[Snapshots, Any, nn.Module]:
    seen = Snapshots()
    made = trial("hydra", sparsity=0.9, set=FAST, observers=[seen])
    return seen, made, made.execute()


def test_search_moves_scores_and_batch_norm_alone(unstructured: tuple[Snapshots, Any, nn.Module]) -> None:
    seen, _, _ = unstructured
    before, after = seen.states["prune/scores:start"], seen.states["prune/scores:end"]
    for name in ("module.0.weight", "module.3.weight", "module.8.weight", "module.8.bias"):
        assert torch.equal(before[name], after[name])
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert {f"module.{layer}.{part}" for layer in (1, 4) for part in ("weight", "bias", "running_mean")} < set(moved)
    assert sum("scores" in name for name in moved) == 3


def test_finetuning_keeps_the_masks_and_starts_at_pretrained_weights(
    unstructured: tuple[Snapshots, Any, nn.Module],
) -> None:
    seen, made, plain = unstructured
    pretrained, start = seen.states["pretrain:end"], seen.states["finetune:start"]
    assert all(torch.equal(pretrained[f"module.{n}.weight"], start[f"module.{n}.weight"]) for n in (0, 3, 8))
    assert not torch.equal(start["module.3.weight"], seen.states["finetune:end"]["module.3.weight"])
    assert seen.masks["finetune:start"].digest() == seen.masks["finetune:end"].digest()
    for name in weight_names(plain):
        weight = plain.get_parameter(name)
        kept = made.method.kept(weight, 0.9)
        assert int(made.model.masks[name].sum()) == kept
        assert int((weight != 0).sum()) == kept
    assert set(made.model.masks) == set(weight_names(plain))


def test_search_trains_no_weight_of_any_kind() -> None:
    attention = nn.MultiheadAttention(4, 1)
    model = MaskedModel(nn.Sequential(attention, nn.LayerNorm(4)))
    assert {id(p) for p in searched_parameters(model)} == {id(p) for p in model.module[1].parameters()}  # type: ignore[index]


# -- invariant 6: the dense limit, the learning rate --------------------------------------------------------------


def test_keeping_everything_is_the_dense_network(trial: Maker) -> None:
    model = trial("hydra").model
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    dense = model.module.eval()(x)
    for name in weight_names(model.module):
        weight = model.fold(name)
        model.reparametrise(name, LearnedScores(scaled_score_init(weight), weight.numel()))
    assert torch.equal(model.eval()(x), dense)


def test_learning_rates_are_the_official_ones() -> None:
    prune, finetune = HydraSettings().prune, HydraSettings().finetune
    rates = [learning_rate(prune, epoch) for epoch in range(20)]
    assert rates[:3] == pytest.approx([0.099384, 0.1, 0.099384], abs=1e-6)
    assert rates[-1] == pytest.approx(0.002447, abs=1e-6)
    assert learning_rate(finetune, 99) == pytest.approx(9.87e-6, abs=1e-8)


def test_paper_settings(trial: Maker) -> None:
    settings = hydra(trial).settings
    assert [p.epochs for p in (settings.pretrain, settings.prune, settings.finetune)] == [100, 20, 100]
    assert [p.lr for p in (settings.pretrain, settings.prune, settings.finetune)] == [0.1, 0.1, 0.01]
    for phase in (settings.pretrain, settings.prune, settings.finetune):
        assert (phase.objective, phase.eps, phase.alpha, phase.steps, phase.beta) == ("trades", 0.031, 0.0078, 10, 6)
        assert (phase.optimizer, phase.momentum, phase.weight_decay, phase.batch_size) == ("sgd", 0.9, 1e-4, 128)
        assert (phase.nesterov, phase.handover) == (False, "last")


# -- fidelity, iterative schedule, filters ------------------------------------------------------------------------


@pytest.mark.parametrize(("fidelity", "passes"), [("paper", 3), ("official", 4)])
def test_official_code_updates_batch_norm_four_times_a_step(trial: Maker, fidelity: str, passes: int) -> None:
    settings = {**FAST, "prune.epochs": 0, "finetune.epochs": 0, "pretrain.objective": "trades"}
    plain = trial("hydra", set=settings | {"fidelity": fidelity}).execute()
    assert int(plain.get_buffer("1.num_batches_tracked")) == 3 * passes  # 24 images in batches of 8


def test_rounds_nest_and_reach_the_target(trial: Maker) -> None:
    seen = Snapshots()
    made = trial("hydra", sparsity=0.9, schedule="IT", set={**FAST, "rounds": 3}, observers=[seen])
    plain = made.execute()
    rounds = [seen.masks[f"round-{n}/prune:end"] for n in (1, 2)] + [made.model.masks]
    for earlier, later in pairwise(rounds):
        for name in later:
            assert not (later[name] & ~earlier[name]).any()
            assert later[name].sum() < earlier[name].sum()
    totals = [plain.get_parameter(name) for name in weight_names(plain)]
    assert sum(int((w != 0).sum()) for w in totals) == sum(made.method.kept(w, 0.9) for w in totals)


def test_filter_scores_start_at_the_scaled_norms() -> None:
    weight = torch.tensor([[1.0, -1.0], [0.5, 0.0]]).view(2, 2, 1, 1)
    scores = scaled_score_init(weight, per_filter=True)
    torch.testing.assert_close(scores, (3.0**0.5 * torch.tensor([1.0, 0.25])).view(2, 1, 1, 1))


@pytest.mark.parametrize("fidelity", ["paper", "official"])
def test_filters_go_whole_with_their_batch_norm(trial: Maker, fidelity: str) -> None:
    made = trial("hydra", structure="S", set={**FAST, "fidelity": fidelity})
    plain = made.execute()
    for conv, norm, kept in (("0", "1", 3), ("3", "4", 4)):
        alive = plain.get_parameter(f"{conv}.weight").flatten(1).abs().sum(dim=1) != 0
        assert int(alive.sum()) == kept
        touched = plain.get_parameter(f"{norm}.bias") != 0
        assert torch.equal(touched, alive) if fidelity == "paper" else bool(touched.all())
    assert bool((plain.get_parameter("8.weight") != 0).all())
    assert reported_sparsity(plain) > 0.3
