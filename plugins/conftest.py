"""What plugins' tests share: runs of seconds, in memory, on a tiny network and tiny data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from apx import MaskedModel, Method, Run, entry, load_method
from apx.datasets import Dataset, Split
from apx.registry import objectives
from apx.run.context import Observer
from apx.run.request import Request, build_settings, choose_variant
from apx.training.dynamics import Dynamics
from apx.training.objectives import Batch, Objective
from apx.training.optimisation import Parameters
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Hooks, Trainer

CLASSES = 3


@dataclass
class Trial:
    """A method, a network and a run, ready to execute."""

    method: Method
    model: MaskedModel
    run: Run

    def execute(self) -> nn.Module:
        """Run the method to its end and return the exported network."""
        self.method.execute(self.model, self.run)
        return self.method.export(self.model, self.run)


def tiny_net(seed: int = 0) -> nn.Sequential:
    """Return two bias-free convolutions with batch norm and a linear layer, for images of 1x8x8."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
    )


def split(count: int, seed: int) -> Split:
    """Return random images in which the labels can be seen, 1x8x8."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 128, (count, 1, 8, 8), generator=generator)
    images[torch.arange(count), 0, 2 * labels] += 100
    return Split(images.to(torch.uint8), labels)


def _forbidden() -> tuple[Tensor, Tensor]:
    raise AssertionError("a run read the test set")


def tiny_data() -> Dataset:
    """Return 24 training and 6 validation images; touching the test set fails."""
    test = Split.lazy(_forbidden, size=6, shape=(1, 8, 8))
    return Dataset("tiny", split(24, 1), split(6, 2), test, num_classes=CLASSES, threat_eps=0.1)


@pytest.fixture
def trial() -> Callable[..., Trial]:
    """Return a maker of trials: `trial("hydra", sparsity=0.5, structure="S", set={"prune.epochs": 0})`.

    Settings are the quick preset's unless `preset` says otherwise; `set` overrides them as `--set` does.
    """

    def make(
        slug: str,
        *,
        sparsity: float = 0.5,
        net: nn.Module | None = None,
        seed: int = 0,
        preset: str = "quick",
        set: Mapping[str, Any] | None = None,
        observers: Sequence[Observer] = (),
        **variant: Any,
    ) -> Trial:
        request = Request(slug, dataset="tiny", sparsity=sparsity, preset=preset, set=set or {}, seed=seed, **variant)
        kind = load_method(slug)
        chosen = choose_variant(entry(slug).document, request)
        settings = build_settings(kind, request, chosen)
        run = Run(
            variant=chosen,
            sparsity=settings.sparsity,
            rounds=settings.rounds,
            environment=Environment(tiny_data(), seed, torch.device("cpu")),
            observers=list(observers),
            objectives=objectives(),
        )
        return Trial(kind(settings, chosen), MaskedModel(tiny_net() if net is None else net), run)

    return make


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]:
    """Return a reader of golden files, made by running a method's official code: `tensors, about = golden("masks")`.

    They lie in the folder `golden` beside the test; `about` says which repository, commit and call made them.
    """

    def read(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        with safe_open(request.path.parent / "golden" / f"{name}.safetensors", framework="pt") as file:
            about = dict(file.metadata())
            assert {"repository", "commit", "call"} <= set(about)
            return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118 - not a dict

    return read


class Given(Objective):
    """The loss of given batches, one per step: no attack and no data order of its own."""

    name = "given"

    def __init__(self, settings: TrainSettings, environment: Environment, losses: Sequence[Callable]) -> None:
        super().__init__(settings, environment.threat(settings))
        self._losses = iter(losses)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the next batch's loss."""
        return next(self._losses)(model)


@pytest.fixture
def given_steps() -> Callable[..., list[tuple[float, dict[str, Tensor]]]]:
    """Return a trainer on given batches: `given_steps(model, x, y, settings)`, with x [steps, B, ...], y [steps, B].

    The steps are the real trainer's. For each one comes (loss, state of the model after it), reparametrisations'
    parameters included. `losses`, functions of the model, replace the cross-entropy.
    """

    def run(
        model: MaskedModel,
        x: Tensor,
        y: Tensor,
        settings: Mapping[str, Any],
        *,
        dynamics: Dynamics | None = None,
        parameters: Parameters | None = None,
        losses: Sequence[Callable[[nn.Module], Tensor]] | None = None,
    ) -> list[tuple[float, dict[str, Tensor]]]:
        def cross_entropy(number: int) -> Callable[[nn.Module], Tensor]:
            return lambda model: functional.cross_entropy(model(x[number]).float(), y[number])

        steps = len(x)
        seen: list[tuple[float, dict[str, Tensor]]] = []

        def keep(model: MaskedModel, epoch: int, number: int, steps: int, loss: float) -> None:
            state = {f"module.{name}": tensor for name, tensor in model.folded_state().items()}
            state |= {f"own.{name}": tensor for name, tensor in model.reparametrisations.state_dict().items()}
            seen.append((loss, {name: tensor.clone() for name, tensor in state.items()}))

        chosen = TrainSettings(epochs=1, batch_size=8, augment=False).model_copy(update=dict(settings))
        data = Dataset("given", split(8 * steps, 1), split(6, 2), split(6, 3), num_classes=CLASSES, threat_eps=0.1)
        environment = Environment(data, 0, torch.device("cpu"))
        Trainer(
            model=model,
            settings=chosen,
            environment=environment,
            phase="given",
            objective=Given(chosen, environment, losses or [cross_entropy(number) for number in range(steps)]),
            parameters=parameters,
            dynamics=dynamics or Dynamics(),
            hooks=Hooks(step=keep),
        ).fit()
        return seen

    return run
