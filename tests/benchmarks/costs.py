"""What a step of each method costs beside plain adversarial training (PGD-10), phase by phase, measured in one run.

    uv run python tests/benchmarks/costs.py [METHOD ...]

prints a table: forward and backward passes of a whole network per optimiser step, and peak memory relative to PGD-10
adversarial training of the same network in the same process. The settings are each method's paper preset, the network a
resnet18 of half the width on random images of CIFAR-10's size; phases are cut to a few steps. One variant is measured
per structure, the first that the entry lists.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from peak_memory import peak, reset_peak, resident
from torch import Tensor, nn

from apx import MaskedModel, Observer, Run, TrainSettings, build, entries, load_method
from apx.conformance import implemented_variants
from apx.datasets import Dataset, Split
from apx.method import Variant
from apx.registry import objectives
from apx.runner.request import Request, build_settings
from apx.training.trainer import Environment

ARCH, WIDTH, BATCH, STEPS = "resnet18", 32, 64, 2
BASELINE = TrainSettings(objective="pgd", epochs=1, batch_size=BATCH, steps=10, attack_bn="eval")


@dataclass
class Meter:
    """Counts whole-network passes; reads and resets the process's peak memory."""

    forwards: int = 0
    backwards: int = 0
    base: float = field(default_factory=resident)

    def reset(self) -> None:
        self.forwards = self.backwards = 0
        reset_peak()

    def peak(self) -> float:
        """Return the bytes in use at most since `reset`, those before any network was built left out."""
        return peak() - self.base

    @contextmanager
    def counting(self, network: type[nn.Module]) -> Iterator[None]:
        backward, grad = Tensor.backward, torch.autograd.grad

        def forward_hook(module: nn.Module, *_: object) -> None:
            self.forwards += isinstance(module, network)

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                self.backwards += 1
                return function(*args, **kwargs)

            return call

        handle = nn.modules.module.register_module_forward_hook(forward_hook)
        Tensor.backward, torch.autograd.grad = counted(backward), counted(grad)  # type: ignore[method-assign]
        try:
            yield
        finally:
            handle.remove()
            Tensor.backward, torch.autograd.grad = backward, grad  # type: ignore[method-assign]


@dataclass
class Cost:
    """One phase's passes per step, and the most bytes in use."""

    phase: str
    forwards: list[int] = field(default_factory=list)
    backwards: list[int] = field(default_factory=list)
    peak: float = 0.0

    def passes(self) -> tuple[float, float]:
        """Return the forward and backward passes per step, those before the first one left out."""
        return statistics.mean(self.forwards[1:]), statistics.mean(self.backwards[1:])


class Watch(Observer):
    """Reads the meter after each step."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.costs: dict[str, Cost] = {}

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self.meter.reset()

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        cost = self.costs.setdefault(phase, Cost(phase))
        cost.forwards.append(self.meter.forwards)
        cost.backwards.append(self.meter.backwards)
        cost.peak = max(cost.peak, self.meter.peak())
        self.meter.reset()


def random_data() -> Dataset:
    def split(count: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator).to(torch.uint8)
        return Split(images, torch.arange(count) % 10)

    return Dataset(
        "random", split(STEPS * BATCH, 1), split(BATCH, 2), split(BATCH, 3), num_classes=10, threat_eps=8 / 255
    )


def measure(slug: str, variant: Variant, meter: Meter) -> dict[str, Cost]:
    """Run a variant with its paper settings, a few steps per phase."""
    kind = load_method(slug)
    settings = build_settings(kind, Request(slug, dataset="cifar10", arch=ARCH, preset="paper"), variant)
    changed: dict[str, Any] = {"sparsity": 0.9 if variant.structure == "US" else 0.5}
    for name in type(settings).model_fields:
        phase = getattr(settings, name)
        if isinstance(phase, TrainSettings) and phase.epochs:
            short = {
                "epochs": max(1, min(phase.epochs, 2)),
                "batch_size": BATCH,
                "handover": "last",
                "warmup_epochs": 0,
            }
            changed[name] = phase.model_copy(update=short)
    if "pruning_epoch" in type(settings).model_fields:
        changed["pruning_epoch"] = 1
    settings = settings.model_copy(update=changed)
    watch = Watch(meter)
    network = build(ARCH, num_classes=10, width=WIDTH)
    run = Run(
        variant=variant,
        sparsity=settings.sparsity,
        environment=Environment(random_data(), 0, torch.device("cpu")),
        observers=[watch],
        objectives=objectives(),
    )
    with meter.counting(type(network)):
        kind(settings, variant).execute(MaskedModel(network), run)
    return watch.costs


def baseline(meter: Meter) -> Cost:
    watch = Watch(meter)
    network = build(ARCH, num_classes=10, width=WIDTH)
    variant = implemented_variants("magnitude")[0]
    run = Run(
        variant=variant,
        sparsity=0.9,
        environment=Environment(random_data(), 0, torch.device("cpu")),
        observers=[watch],
        objectives=objectives(),
    )
    with meter.counting(type(network)):
        run.train("plain", MaskedModel(network), BASELINE)
    return watch.costs["plain"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="all implemented ones where none is named")
    asked = parser.parse_args().methods or [e.slug for e in entries() if e.implemented_variants]
    torch.manual_seed(0)
    meter = Meter()
    baseline(meter)  # warms up
    plain = baseline(meter)
    forwards, backwards = plain.passes()
    print(f"PGD-10: {forwards:g} forward, {backwards:g} backward passes, {plain.peak / 2**20:.0f} MiB\n")
    print("| method | structure | phase | forward | backward | peak memory |\n|---|---|---|---|---|---|")
    for slug in asked:
        first = {variant.structure: variant for variant in reversed(implemented_variants(slug))}
        for structure, variant in sorted(first.items(), reverse=True):
            for phase, cost in measure(slug, variant, meter).items():
                forwards, backwards = cost.passes()
                cells = (slug, structure, phase, f"{forwards:.1f}", f"{backwards:.1f}", f"{cost.peak / plain.peak:.2f}")
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
