"""What masks cost in training: a step of each method's own phase beside plain TRADES, same network and attack.

A method's overhead per step does not grow with the attack, so few steps of it make the ratio strict. Peak memory is
that of the process above what it held before, read from the kernel, of one phase after the other.
"""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import apx
from apx import MaskedModel, Run, TrainSettings
from apx.conformance import implemented_variants
from apx.datasets import Dataset, Split
from apx.memory_format import lay_out_for_training
from apx.registry import objectives
from apx.runner.context import Observer
from apx.runner.request import Request, build_settings
from apx.training.trainer import Environment

from .conftest import Compare

PHASES = {"hydra": "prune", "twinrep": "train", "flyingbird": "train", "radmm": "prune", "harp": "prune"}
"""Method -> the phase in which its masks or scores are at work."""


class Work:
    """Sizes: a resnet18 of a quarter of the width and TRADES-10 where it is timed, something tiny where not."""

    def __init__(self, timing: bool) -> None:
        self.width, self.batch, self.attack, self.steps = (16, 64, 10, 2) if timing else (4, 4, 1, 1)

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return lay_out_for_training(apx.build("resnet18", num_classes=10, width=self.width))

    def run(self, variant: Any, observer: Observer | None = None) -> Run:
        images = torch.randint(0, 256, (self.batch * self.steps, 3, 32, 32), dtype=torch.uint8)
        part = Split(images, torch.arange(len(images)) % 10)
        data = Dataset("random", part, part, part, num_classes=10, threat_eps=8 / 255)
        return Run(
            variant=variant, sparsity=0.9, environment=Environment(data, 0, torch.device("cpu")),
            observers=[] if observer is None else [observer], objectives=objectives(),
        )  # fmt: skip

    def settings(self, **changes: Any) -> TrainSettings:
        return TrainSettings(
            objective="trades", epochs=1, batch_size=self.batch, steps=self.attack, optimizer="sgd", lr=0.01,
            handover="last", **changes,
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
    variant = implemented_variants("magnitude")[0]

    def run() -> float:
        clock = Clock("plain")
        work.run(variant, clock).train("plain", MaskedModel(work.network()), work.settings())
        return clock.seconds

    return run


@pytest.mark.parametrize("slug", PHASES)
def test_a_masked_epoch_against_plain_trades(compare: Compare, slug: str) -> None:
    work = Work(compare.timing)
    compare.reported(
        f"{slug}, {PHASES[slug]}: TRADES-{work.attack}, resnet18 of width {work.width}, {work.batch} images",
        of_the_method(slug, work),
        plain(work),
        named="plain TRADES",
        rounds=3,
    )


def peak_above(work: Callable[[], object]) -> float:
    """Return the bytes that the process used at most during the work, above what it held before (Linux)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier work has freed is not counted as held
    held = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return _status("VmHWM") - held


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("slug", PHASES)
def test_peak_memory_against_plain_trades(compare: Compare, slug: str) -> None:
    work = Work(compare.timing)
    own, other = of_the_method(slug, work), plain(work)
    if compare.timing:
        other()  # what libraries set up once belongs to neither
    compare.memory(f"{slug}: peak memory", peak_above(own), peak_above(other), named="plain TRADES")
