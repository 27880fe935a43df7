"""PwoA against its official code: projections, HSIC, duals, and a run of three steps in each phase."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from testing_support import part
from torch import Tensor, nn

from apx import Batch, MaskedModel
from apx.admm import ADMM, energy, project
from apx.datasets import Dataset, Split
from apx.specifics import structure_of
from apx.specifics.rates import Uniform
from apx_pwoa.hsic import bottleneck, gaussian_kernel, hsic, label_kernel
from apx_pwoa.objective import BottleneckDistillation
from apx_pwoa.percentile import Percentile

Golden = Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]
Maker = Callable[..., Any]
GRANULARITIES = ("weights", "columns", "filters")
SHAPES = ("odd", "pointwise", "linear", "wide")


def kept(shape: torch.Size, sparsity: float, granularity: str, rates: Any) -> int:
    return rates.kept({"w": tuple(shape)}, sparsity, structure_of(granularity))["w"]


# -- the projection -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("sparsity", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_projection(golden: Golden, shape: str, sparsity: float, granularity: str) -> None:
    tensors, _ = golden("projections")
    weight, expected = tensors[f"{shape}/weight"], tensors[f"{shape}/{granularity}/{sparsity}"]
    count = kept(weight.shape, sparsity, granularity, Percentile())
    if not expected.any():
        assert count == 1  # the code empties such a layer
        return
    assert torch.equal(project(weight, structure_of(granularity), count), expected)
    ours = kept(weight.shape, sparsity, granularity, Uniform())
    assert abs(ours - count) <= 1


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_projection_with_ties(golden: Golden, sparsity: float, granularity: str) -> None:
    """Units that tie with the percentile all stay in the official code (all go, if filters); here counts are exact."""
    tensors, _ = golden("projections")
    weight, expected = tensors["tied/weight"], tensors[f"tied/{granularity}/{sparsity}"]
    structure = structure_of(granularity)
    count = kept(weight.shape, sparsity, granularity, Percentile())
    projected = project(weight, structure, count)
    norms = structure.reduce(energy(weight))
    units, official = structure.reduce(energy(projected)) > 0, structure.reduce(energy(expected)) > 0
    differ = units != official
    assert len(norms[differ].unique()) <= 1
    assert int(units.sum()) <= count  # kept units may be zeros already


# -- HSIC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["small", "wide", "narrow"])
def test_hsic_and_its_gradient(golden: Golden, case: str) -> None:
    tensors, _ = golden("hsic")
    x, z, y = (tensors[f"{case}/{name}"] for name in ("x", "z", "y"))
    features = z.double().requires_grad_(True)
    kernel = gaussian_kernel(features, 5.0)
    values = {"hx": hsic(kernel, gaussian_kernel(x, 5.0)), "hy": hsic(kernel, label_kernel(y))}
    for name, value in values.items():
        torch.testing.assert_close(value, tensors[f"{case}/double/{name}"], rtol=1e-7, atol=0)
        torch.testing.assert_close(value.float(), tensors[f"{case}/single/{name}"], rtol=2e-2, atol=0)
    bottleneck(x, y, [features], lambda_x=0.3, lambda_y=0.7, sigma=5.0).backward()
    expected = tensors[f"{case}/double/gradient"]
    torch.testing.assert_close(features.grad, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


# -- duplicates and duals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_duplicates_and_duals(golden: Golden, granularity: str) -> None:
    tensors, _ = golden("duals")
    names = ("a.weight", "b.weight")
    module = nn.ModuleDict({"a": nn.Conv2d(3, 5, 3, bias=False), "b": nn.Conv2d(6, 8, 1, bias=False)})
    model = MaskedModel(module)
    module.load_state_dict({name: tensors[f"weight/{name}"] for name in names})
    structure = structure_of(granularity)
    admm = ADMM(
        names,
        lambda name, tensor: project(tensor, structure, kept(tensor.shape, 0.75, granularity, Percentile())),
        interval=3,
        rho=0.9,
        growth=1.35,
        largest_rho=1.0,
        renew=True,
    )
    for epoch in range(1, 8):
        admm.restart(model)
        if epoch > 1 and (epoch - 1) % 3 == 0:
            admm.update(model)
        if epoch in (1, 4, 7):
            assert admm.rho == pytest.approx(float(tensors[f"{granularity}/{epoch}/rho"]))
            torch.testing.assert_close(admm.penalty(model).detach(), tensors[f"{granularity}/{epoch}/penalty"])
            for name in names:
                torch.testing.assert_close(admm.z[name], tensors[f"{granularity}/{epoch}/z/{name}"])
                torch.testing.assert_close(admm.u[name], tensors[f"{granularity}/{epoch}/u/{name}"])
        with torch.no_grad():
            for name in names:
                weight = module.get_parameter(name)
                weight.add_(0.1 * torch.cos(torch.arange(weight.numel()).float() + epoch).view_as(weight))


# -- a run --------------------------------------------------------------------------------------------------------


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 5, 3, stride=2),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(45, 6),
    )


def given(batches: Tensor, labels: Tensor) -> type[BottleneckDistillation]:
    """Return the objective on batches given beforehand, [steps, m, ...], in the place of the data's."""

    class Given(BottleneckDistillation):
        def loss(self, model: nn.Module, batch: Batch) -> Tensor:
            return super().loss(model, replace(batch, x=batches[self.batches], y=labels[self.batches]))

    return Given


def settings() -> dict[str, Any]:
    phase = {"epochs": 3, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 24}
    phase |= {"lr_schedule": "constant"}
    values = {f"{name}.{key}": value for name in ("prune", "finetune") for key, value in phase.items()}
    own = {
        "lambda_x": 0.003,
        "lambda_y": 0.02,
        "taps": ["2", "4", "7"],
        "interval": 1,
        "rho": 0.01,
        "fidelity": "official",
        "mix": 0.0,
    }
    return {**values, **own}


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_trajectory(trial: Maker, golden: Golden, granularity: str) -> None:
    """Batch norm and unpruned layers included; batches are given, everything else is a run's own machinery."""
    tensors, _ = golden(f"trajectory-{granularity}")
    net = network()
    net.load_state_dict(part(tensors, "start/"))
    made = trial("pwoa", net=net, sparsity=0.75, granularity=granularity, set=settings())
    data = made.run.data
    assert isinstance(data, Dataset)
    assert isinstance(data.train, Split)
    model, run, method = made.model, made.run, made.method
    run.dense = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    seen: dict[str, Any] = {}

    def prune(model: MaskedModel, run: Any) -> Any:
        masks = method.prune(model, run)
        seen.update({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return masks

    run.objectives = {"kd-hsic": given(tensors["x"][:3], tensors["y"][:3])}
    run.prune("prune", model, prune, 0.75)
    for name, expected in part(tensors, "pruned/").items():
        torch.testing.assert_close(seen[name], expected, rtol=1e-4, atol=1e-6)
    for name, expected in part(tensors, "mask/").items():
        assert torch.equal(model.masks[name], expected)
    run.objectives = {"kd-hsic": given(tensors["x"][3:], tensors["y"][3:])}
    run.train("finetune", model, method.settings.finetune, teacher=method.teacher(model, run))
    folded = model.folded_state()
    for name, expected in part(tensors, "end/").items():
        torch.testing.assert_close(folded[name], expected, rtol=1e-4, atol=1e-6)


def test_the_trajectory_has_something_to_follow(golden: Golden) -> None:
    """Each phase of the stored run moves weights by far more than the tolerance."""
    for granularity in GRANULARITIES:
        tensors, _ = golden(f"trajectory-{granularity}")
        for name in ("0.weight", "3.weight", "5.weight", "9.weight", "1.weight"):
            before, pruned, end = (tensors[f"{moment}/{name}"] for moment in ("start", "pruned", "end"))
            mask = tensors.get(f"mask/{name}", torch.ones_like(end, dtype=torch.bool))
            assert float((pruned - before).abs().max()) > 1e-3
            assert float((end - pruned)[mask].abs().max()) > 1e-4
