"""Training at real size is training at full size, and is refused where it would not be."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from float64 import Double
from safetensors.torch import load_file
from torch import Tensor, nn

import apx
from apx import Observer
from apx.coupling import couple_filters
from apx.datasets import Dataset, Split
from apx.masked_model import MaskedModel
from apx.masks import Masks
from apx.memory_format import lay_out
from apx.registry import objectives
from apx.reparametrisation import LearnedScores
from apx.runner import context
from apx.runner.request import Request
from apx.runner.start import resume, start
from apx.shrunk_training import smaller
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Hooks, Trainer

EXAMPLE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def filters_of(network: nn.Module, share: float) -> dict[str, Tensor]:
    """Mask the smallest filters of each convolution."""
    found = {}
    for name, weight in network.named_parameters():
        if weight.dim() == 4:
            norms = weight.detach().abs().flatten(1).sum(dim=1)
            kept = norms >= norms.sort().values[int(share * len(norms))]
            found[name] = kept.view(-1, 1, 1, 1).expand_as(weight).contiguous()
    return found


def masked(arch: str, share: float = 0.5, *, storage: Any = "reparametrised") -> MaskedModel:
    torch.manual_seed(0)
    network = lay_out(apx.build(arch, num_classes=10, image_size=16, width=4))
    masks = couple_filters(network, filters_of(network, share), EXAMPLE)
    model = MaskedModel(Double(network), storage=storage)
    model.set_masks(Masks({f"network.{name}": mask for name, mask in masks.items()}))
    return model


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = apx.load_dataset("digits")
    part = Split(digits.train.images[:64], digits.train.labels[:64])
    return Dataset("some", part, part, part, num_classes=10, threat_eps=8 / 255)


def fit(model: MaskedModel, data: Dataset, decay: float) -> list[float]:
    settings = TrainSettings(
        objective="pgd", epochs=2, batch_size=8, steps=2, optimizer="sgd", lr=0.05, weight_decay=decay,
        handover="best", val_steps=1,
    )  # fmt: skip
    environment, losses = Environment(data, 0, torch.device("cpu"), augment=False), []
    objective = objectives()["pgd"](settings, environment.threat(settings))
    Trainer(model, settings, environment, "phase", objective, hooks=Hooks(step=lambda *at: losses.append(at[-1]))).fit()
    return losses


@pytest.mark.parametrize("storage", ["reparametrised", "inplace"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "cnn-small"])
def test_losses_masks_and_answers_are_those_of_full_size(arch: str, decay: float, storage: str, data: Dataset) -> None:
    full, model = masked(arch, storage=storage), masked(arch, storage=storage)
    found = smaller(model, EXAMPLE)
    assert found is not None
    entries = [sum(p.numel() for p in one.module.parameters()) for one in (found.model, full)]
    assert entries[0] < 0.6 * entries[1]
    assert fit(found.model, data, decay) == pytest.approx(fit(full, data, decay), rel=1e-6)
    found.write_back(model)
    images = torch.rand(6, 3, 16, 16)
    full.eval(), model.eval()
    torch.testing.assert_close(model(images), full(images), rtol=1e-6, atol=1e-8)
    assert {name: mask.tolist() for name, mask in model.masks.items()} == {
        name: mask.tolist() for name, mask in full.masks.items()
    }
    assert apx.reported_sparsity(model.module) == apx.reported_sparsity(full.module)
    if decay == 0:
        for name, tensor in model.folded_state().items():
            if "running_var" not in name:  # of masked channels nothing reads it
                torch.testing.assert_close(tensor, full.folded_state()[name], rtol=1e-6, atol=1e-9)


def test_it_is_refused_where_it_would_not_be_the_same() -> None:
    network = apx.build("resnet18", num_classes=10, image_size=16, width=4)
    filters = filters_of(network, 0.5)
    model = MaskedModel(network)
    assert smaller(model, EXAMPLE) is None, "nothing is masked"
    model.set_masks(Masks(filters))
    assert smaller(model, EXAMPLE) is None, "batch norms of removed filters would go on to learn"
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.rand(mask.shape, generator=generator) > 0.9 for name, mask in filters.items()}
    model.set_masks(Masks(weights))
    assert smaller(model, EXAMPLE) is None, "hardly a filter is gone"
    model.set_masks(couple_filters(network, filters, EXAMPLE))
    assert smaller(model, EXAMPLE) is not None
    name = "layer4.0.conv1.weight"
    model.reparametrise(name, LearnedScores(torch.rand(network.get_parameter(name).shape), 100))
    assert smaller(model, EXAMPLE) is None, "scores may bring filters back"
    dead = MaskedModel(apx.build("cnn-small", num_classes=10, image_size=16, width=4))
    with torch.no_grad():
        for parameter in dead.module.parameters():
            parameter.zero_()
    assert smaller(dead, EXAMPLE) is None, "zeros that are not masked may grow"


SETTINGS = {f"{phase}.{key}": value for phase in ("pretrain", "finetune")
            for key, value in (("batch_size", 100), ("steps", 1), ("epochs", 2))}  # fmt: skip


def request(**changes: Any) -> Request:
    return Request(
        "magnitude", arch="cnn-small", width=4, structure="S", sparsity=0.75, eval="none", device="cpu", set=SETTINGS,
        **changes,
    )  # fmt: skip


class Killed(BaseException):
    """Stands for a kill."""


class Watch(Observer):
    """Notes the sizes and masks that an observer sees, and may end the process's life."""

    def __init__(self, kill_at: int = 0) -> None:
        self.left, self.seen = kill_at, set()

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        kept = sum(int(mask.sum()) for mask in model.current_masks().values())
        self.seen.add((phase, sum(p.numel() for p in model.module.parameters()), kept))
        self.left -= 1
        if self.left == 0:
            raise Killed


def test_a_run_trains_small_shows_observers_the_whole_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(context, "PAYS_FROM", 1)
    made: list[int] = []

    def counted(model: MaskedModel, example: Tensor) -> Any:
        found = smaller(model, example)
        if found is not None:
            made.append(sum(p.numel() for p in found.model.module.parameters()))
        return found

    monkeypatch.setattr(context, "smaller", counted)
    watch = Watch()
    start(request(), out=tmp_path / "whole", observers=[watch])
    (sizes,) = {(size, kept) for phase, size, kept in watch.seen if phase == "finetune"}
    assert len(made) == 1
    assert made[0] < 0.5 * sizes[0]
    for step in (25, 30, 37, 47):  # of 24 + 24
        shutil.rmtree(tmp_path / "home" / "dense")
        with pytest.raises(Killed):
            start(request(), out=tmp_path / f"{step}", observers=[Watch(step)])
        resume(tmp_path / f"{step}")
        whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", f"{step}"))
        assert all(torch.equal(whole[name], again[name]) for name in whole)
