"""RST against its official code: initial weights, masks, gradients, and three steps of the search."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from testing_support import four_layers
from torch import Tensor, nn

from apx import MaskedModel
from apx.reparametrisation import LearnedScores
from apx.selection import keep_highest
from apx.specifics import Uniform, structure_of
from apx.training.settings import TrainSettings
from apx_rst.method import RSTSettings
from apx_rst.scores import trailing
from apx_rst.weights import signed_constant

Maker = Callable[..., Any]
GRANULARITIES = ("weights", "filters", "kernels")
LAYERS = ("odd", "pointwise", "classifier")
SEARCHED = ("0", "3", "6", "11")  # the four layers of the trajectory's network


def network() -> nn.Sequential:
    return four_layers(3, (6, 8, 10), 6, pool=4)


def kept(shape: torch.Size, sparsity: float, granularity: str) -> int:
    return Uniform().kept({"layer": tuple(shape)}, sparsity, structure_of(granularity))["layer"]


def scored(weight: Tensor, scores: Tensor, count: int) -> MaskedModel:
    """A convolution without bias under official scores, which lack the trailing dimensions."""
    out, inputs, size, _ = weight.shape
    layer = nn.Conv2d(inputs, out, size, padding=size // 2, bias=False)
    layer.load_state_dict({"weight": weight})
    model = MaskedModel(layer.requires_grad_(False))
    model.reparametrise("weight", LearnedScores(trailing(scores, 4), count))
    return model


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.95])
def test_masks_outputs_and_gradients(golden: Maker, granularity: str, layer: str, sparsity: float) -> None:
    tensors, _ = golden("masks")
    key = f"{granularity}/{layer}"
    weight, scores = tensors[f"{key}/weight"], tensors[f"{key}/scores"]
    model = scored(weight, scores, kept(weight.shape, sparsity, granularity))
    expected = trailing(tensors[f"{key}/mask-{sparsity}"], 4).expand_as(weight)
    assert torch.equal(model.current_masks()["weight"], expected)
    model.refresh()
    out = model(tensors[f"{key}/x"])
    torch.testing.assert_close(out, tensors[f"{key}/y-{sparsity}"], rtol=1e-5, atol=1e-6)
    (out * tensors[f"{key}/g"]).sum().backward()
    model.pull_back()
    (learned,) = model.reparametrisations.parameters()
    torch.testing.assert_close(learned.grad, trailing(tensors[f"{key}/gradient-{sparsity}"], 4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.95])
def test_ties_differ_in_identity_alone(golden: Maker, granularity: str, layer: str, sparsity: float) -> None:
    """Which of equal |scores| stays is up to an unstable sort in the official code; here the earlier entry goes."""
    tensors, _ = golden("ties")
    key = f"{granularity}/{layer}"
    weight, saliency = tensors[f"{key}/weight"], tensors[f"{key}/scores"].abs()
    count = kept(weight.shape, sparsity, granularity)
    ours, official = keep_highest(saliency, count), tensors[f"{key}/mask-{sparsity}"]
    assert int(ours.sum()) == int(official.sum()) == count
    assert bool((saliency[ours != official] == saliency[ours].min()).all())


@pytest.mark.parametrize("layer", LAYERS)
def test_signed_constants(golden: Maker, layer: str) -> None:
    """A drawn weight of exactly 0 has no sign and stays 0 in the official code; here it counts as positive."""
    tensors, _ = golden("init")
    drawn, official = tensors[f"{layer}/drawn"], tensors[f"{layer}/weight"]
    zero = drawn == 0
    assert int(zero.sum()) == 1
    ours = signed_constant(drawn)
    torch.testing.assert_close(ours[~zero], official[~zero], rtol=1e-6, atol=0)
    assert bool((official[zero] == 0).all())
    assert bool((ours[zero] > 0).all())


def test_the_official_count_suffers_from_float_noise(golden: Maker) -> None:
    """1 - 0.9 is just below a tenth: the official code removes int(0.0999... * 10) = 0 of 10, here 1 goes."""
    tensors, _ = golden("count")
    assert bool(tensors["mask"].all())
    assert kept(torch.Size([10, 1]), 0.1, "weights") == 9


def load(made: Any, tensors: dict[str, Tensor]) -> None:
    """Put the official weights and scores in place."""
    model = made.model
    made.method.prepare(model, made.run)
    for layer in SEARCHED:
        weight = model.module.get_parameter(f"{layer}.weight")
        with torch.no_grad():
            weight.copy_(tensors[f"weight/{layer}"].view_as(weight))
    with made.run.targeting(made.run.sparsity):
        made.method.attach_scores(model, made.run)
    for layer in SEARCHED:
        function = model.reparametrisations[f"{layer}/weight"]
        with torch.no_grad():
            function.scores.copy_(tensors[f"scores/{layer}"].view_as(function.scores))


@pytest.mark.parametrize(("granularity", "sparsity"), [("weights", 0.5), ("weights", 0.9), ("kernels", 0.5)])
def test_three_steps_of_the_search(
    trial: Maker, golden: Maker, given_steps: Maker, granularity: str, sparsity: float
) -> None:
    tensors, _ = golden(f"search-{granularity}-{sparsity}")
    made = trial(
        "rst",
        net=network(),
        sparsity=sparsity,
        granularity=granularity,
        set={"fidelity": "official"},
    )
    load(made, tensors)
    own = made.model.reparametrisations
    recipe = RSTSettings().search.model_dump() | {"epochs": 1, "lr_schedule": "constant", "handover": "last"}
    settings = TrainSettings(**recipe).model_dump(exclude={"batch_size", "augment"})
    steps = given_steps(made.model, tensors["x"], tensors["y"], settings, parameters=own.parameters())
    for number, (loss, state) in enumerate(steps):
        torch.testing.assert_close(loss, float(tensors[f"step-{number}/loss"]), rtol=1e-5, atol=1e-6)
        for layer in SEARCHED:
            scores = state[f"own.{layer}/weight.scores"]
            expected = tensors[f"step-{number}/scores/{layer}"].view_as(scores)
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-6)
            mask = tensors[f"step-{number}/mask/{layer}"].view_as(scores)
            weight = state[f"module.{layer}.weight"]
            assert torch.equal(weight != 0, mask.view_as(scores).expand_as(weight))
        for norm in ("1", "4", "7"):
            for part in ("mean", "var"):
                expected = tensors[f"step-{number}/{part}/{norm}"]
                torch.testing.assert_close(state[f"module.{norm}.running_{part}"], expected, rtol=1e-4, atol=1e-6)


def test_the_official_search_moves_filter_scores_by_weight_decay_alone(golden: Maker) -> None:
    """Why apx has no such variant: batch norm undoes a kept filter's scale, behind a removed one ReLU is flat."""
    tensors, _ = golden("search-filters-0.5")
    for layer in ("0", "3", "6"):
        shrunk = tensors[f"step-2/scores/{layer}"] / tensors[f"scores/{layer}"]
        torch.testing.assert_close(shrunk, torch.full_like(shrunk, float(shrunk.mean())), rtol=1e-5, atol=0)
