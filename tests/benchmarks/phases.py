"""A few steps of a method's own phase, and of plain adversarial training, timed step by step."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import apx
from apx import MaskedModel, Observer, Run, TrainSettings
from apx.conformance import implemented_variants
from apx.datasets import Dataset, Split
from apx.memory_format import lay_out
from apx.registry import objectives
from apx.runner.request import Request, build_settings
from apx.training.trainer import Environment

PHASES = {"hydra": "prune", "twinrep": "train", "flyingbird": "train", "radmm": "prune", "harp": "prune"}
"""Method -> the phase in which its masks or scores are at work."""


def random_data(count: int, classes: int = 10) -> Dataset:
    """Return images of CIFAR's size, the same in each split."""
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    part = Split(images, torch.arange(count) % classes)
    return Dataset("random", part, part, part, num_classes=classes, threat_eps=8 / 255)


@dataclass(frozen=True)
class Work:
    """What is trained, and how long: `steps` steps of TRADES with `attack` of its own, on random images."""

    build: Callable[[], nn.Module]
    batch: int = 64
    attack: int = 10
    steps: int = 2
    classes: int = 10

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return lay_out(self.build())

    def run(self, variant: Any, observer: Observer) -> Run:
        data = random_data(self.batch * self.steps, self.classes)
        return Run(
            variant=variant,
            sparsity=0.9,
            environment=Environment(data, 0, torch.device("cpu")),
            observers=[observer],
            objectives=objectives(),
        )

    def settings(self) -> TrainSettings:
        return TrainSettings(
            objective="trades", epochs=1, batch_size=self.batch, steps=self.attack, optimizer="sgd", lr=0.01,
            handover="last",
        )  # fmt: skip


class Clock(Observer):
    """Seconds of the steps of one phase."""

    def __init__(self, phase: str) -> None:
        self.phase, self.seconds, self._last = phase, 0.0, 0.0

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self._last = time.perf_counter()

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        now = time.perf_counter()
        if phase.split("/")[0] == self.phase:
            self.seconds += now - self._last
        self._last = now


def of_the_method(slug: str, work: Work) -> Callable[[], float]:
    """Return a run of the method whose other phases are as short as can be; it returns the seconds of its own steps."""
    kind, variant = apx.load_method(slug), implemented_variants(slug)[0]
    settings = build_settings(kind, Request(slug, dataset="cifar10", arch="resnet18", preset="paper"), variant)
    changed: dict[str, Any] = {"sparsity": 0.9}
    for name in type(settings).model_fields:
        phase = getattr(settings, name)
        if isinstance(phase, TrainSettings) and phase.epochs:
            own = name == PHASES[slug]
            changed[name] = work.settings() if own else work.settings().model_copy(update={"objective": "nat"})
    settings = settings.model_copy(update=changed)

    def run() -> float:
        clock = Clock(PHASES[slug])
        kind(settings, variant).execute(MaskedModel(work.network()), work.run(variant, clock))
        return clock.seconds

    return run


def plain(work: Work) -> Callable[[], float]:
    """Return plain TRADES of the same network; it returns the seconds of its steps."""
    variant = implemented_variants("magnitude")[0]

    def run() -> float:
        clock = Clock("plain")
        work.run(variant, clock).train("plain", MaskedModel(work.network()), work.settings())
        return clock.seconds

    return run
