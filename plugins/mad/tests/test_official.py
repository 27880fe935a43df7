"""Parity with MAD's official code: factors, saliency, masks and finetuning steps on the same tensors."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from testing_support import part
from torch import Tensor, nn

from apx import MaskedModel
from apx.attacks import frozen
from apx.masks import Masks, prunable_layers
from apx.training.objectives import mart_loss
from apx_mad.kfac import Call, batch_saliency, layer_saliency, parameter_names, projection, row_curvature
from apx_mad.pools import masks_from_saliency
from apx_mad.soft_masks import search_masks

Golden = Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]

LAYERS = {
    "conv": nn.Conv2d(3, 5, 3, padding=1, bias=False),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "pointwise": nn.Conv2d(5, 4, 1, stride=2, bias=False),
    "linear": nn.Linear(7, 3),
}
CLASSIFIER = "11"


def four_layers(state: dict[str, Tensor] | None = None) -> nn.Sequential:
    """Return the network of the golden files: three convolutions with batch norm, one linear layer."""
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.Conv2d(5, 4, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    if state is not None:
        network.load_state_dict(state)
    return network


def matrices(network: nn.Module, entries: dict[str, Tensor] | Masks) -> list[Tensor]:
    """Return the official form of tensors by parameter name: one [o, i (+ 1)] matrix per layer."""
    layers = prunable_layers(network).items()
    return [
        torch.cat([entries[full].reshape(len(entries[full]), -1) for full in parameter_names(name, layer).values()], 1)
        for name, layer in layers
    ]


def by_parameter(network: nn.Module, given: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return official matrices as tensors by parameter name."""
    entries = {}
    for number, (name, layer) in enumerate(prunable_layers(network).items()):
        width = layer.get_parameter("weight")[0].numel()
        columns = given[f"{prefix}{number}"].split([width, given[f"{prefix}{number}"].shape[1] - width], dim=1)
        for (_, full), column in zip(parameter_names(name, layer).items(), columns, strict=False):
            entries[full] = column.reshape(network.get_parameter(full).shape)
    return entries


@pytest.mark.parametrize("name", LAYERS)
def test_factors_and_saliency_of_a_layer(golden: Golden, name: str) -> None:
    own = part(golden("layers")[0], f"{name}.")
    layer, x, gradient = LAYERS[name], own["x"], own["gradient"]
    weight, mask = own["weight"], own["mask"]
    width = weight[0].numel()
    masks = {"weight": mask[:, :width].view_as(weight), "bias": mask[:, -1]}
    displacement = {p: own[p] - own[p] * masks[p] for p in ("weight", "bias") if p in own}
    flat = partial(torch.cat, dim=1)
    as_matrix = {p: moved.reshape(len(moved), -1) for p, moved in displacement.items()}

    projected, positions = projection(layer, displacement, x)
    expected = flat(list(as_matrix.values())) @ own["A"]
    torch.testing.assert_close(
        flat([p.reshape(len(p), -1) for p in projected.values()]), expected, rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(row_curvature(layer, gradient, positions), own["G"].diagonal(), rtol=1e-5, atol=0)
    saliency = layer_saliency(layer, displacement, [Call(x, gradient)])
    torch.testing.assert_close(
        flat([s.reshape(len(s), -1) for s in saliency.values()]),
        own["S"],
        rtol=1e-5,
        atol=1e-6 * float(own["S"].abs().max()),
    )


def test_masks_and_saliency_of_two_batches(golden: Golden) -> None:
    given, _ = golden("saliency")
    network = four_layers(part(given, "state.")).eval()
    layers = prunable_layers(network)
    names = [full for name, layer in layers.items() for full in parameter_names(name, layer).values()]
    mean = {name: torch.zeros_like(network.get_parameter(name)) for name in names}
    with frozen(network):
        for number in range(2):
            x, y = given[f"x.{number}"], given[f"y.{number}"]
            masks = search_masks(network, names, x, y)
            saliency = batch_saliency(network, layers, masks, x, y)
            for layer, (mask, own) in enumerate(
                zip(matrices(network, masks), matrices(network, saliency), strict=True)
            ):
                torch.testing.assert_close(mask, given[f"m.{number}.{layer}"], rtol=1e-5, atol=1e-6)
                assert_saliency(own, given[f"S.{number}.{layer}"])
            mean = {name: mean[name] + saliency[name] / 2 for name in names}
    for layer, own in enumerate(matrices(network, mean)):
        assert_saliency(own, given[f"mean.{layer}"])


def assert_saliency(own: Tensor, expected: Tensor) -> None:
    """Entries are differences of larger terms: relative to the layer's largest."""
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("percent", [50, 90])
def test_masks_from_saliency(golden: Golden, percent: int) -> None:
    given, _ = golden("masks")
    network = four_layers()
    masks = masks_from_saliency(by_parameter(network, given, "distinct.S."), percent / 100, CLASSIFIER)
    for layer, mask in enumerate(matrices(network, masks)):
        assert torch.equal(~mask, given[f"distinct.{percent}.removed.{layer}"].bool())


@pytest.mark.parametrize("percent", [50, 90])
def test_ties_fall_by_position(golden: Golden, percent: int) -> None:
    """The official sort is not stable, anyone may go among equal saliencies: the same values go, in equal number."""
    given, _ = golden("masks")
    network = four_layers()
    masks = masks_from_saliency(by_parameter(network, given, "tied.S."), percent / 100, CLASSIFIER)
    removed = [~mask for mask in matrices(network, masks)]
    official = [given[f"tied.{percent}.removed.{layer}"].bool() for layer in range(4)]
    saliency = [given[f"tied.S.{layer}"] for layer in range(4)]

    def gone(choice: list[Tensor]) -> Tensor:
        return torch.cat([s[r] for s, r in zip(saliency[:3], choice[:3], strict=True)]).sort().values

    assert torch.equal(gone(removed), gone(official))
    pool = torch.cat([s.flatten() for s in saliency[:3]])
    order = pool.argsort(stable=True)[: int(percent / 100 * len(pool))]
    assert torch.equal(torch.cat([r.flatten() for r in removed[:3]]).nonzero()[:, 0], order.sort().values)
    for row in range(3):
        mine, theirs = (saliency[3][row][choice[3][row]].sort().values for choice in (removed, official))
        assert torch.equal(mine, theirs)


def test_counts_are_safe_against_float_noise() -> None:
    """The official int(0.29 * 100) is 28; counts here are floor(s n) of the true product."""
    assert int(0.29 * 100) == 28
    masks = masks_from_saliency({"0.weight": torch.arange(100.0).view(10, 10)}, 0.29, None)
    assert int((~masks["0.weight"]).sum()) == 29


def test_three_finetuning_steps(golden: Golden, given_steps: Callable[..., Any]) -> None:
    given, _ = golden("finetuning")
    network = four_layers(part(given, "state."))
    model = MaskedModel(network, storage="inplace")
    model.set_masks(Masks({name: removed == 0 for name, removed in by_parameter(network, given, "removed.").items()}))

    def loss(number: int) -> Callable[[nn.Module], Tensor]:
        x, x_adv, y = (given[f"{name}.{number}"] for name in ("x", "x_adv", "y"))
        return lambda model: mart_loss(model(x), model(x_adv), y, 0.5)

    x, y = (torch.stack([given[f"{name}.{number}"] for number in range(3)]) for name in ("x", "y"))
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 2e-4, "lr_schedule": "constant"}
    steps = given_steps(model, x, y, settings, losses=[loss(number) for number in range(3)])
    for number, (value, state) in enumerate(steps):
        assert value == pytest.approx(float(given[f"loss.{number}"]), rel=1e-5)
        after = part(given, f"after.{number}.")
        for name, expected in after.items():
            torch.testing.assert_close(state[f"module.{name}"], expected, rtol=1e-4, atol=1e-6)
