"""How fast a network answers: its dense, masked and shrunk form side by side, interleaved, with the spread.

Zeros in a weight tensor do not make a dense kernel faster; filters that are gone do. This says which of the two a
pruned network has, in milliseconds.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from .attacks import frozen
from .cost import count_flops
from .errors import UserError
from .masks import PRUNABLE, count_zeros
from .memory_format import set_memory_format
from .shrinking import shrink

Form = Literal["dense", "masked", "shrunk"]

_WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Seconds of one forward pass of a form of the network: median and quartiles over the rounds."""

    form: Form
    device: str
    threads: int
    batch_size: int
    median: float
    low: float
    high: float
    rounds: int
    passes: int
    """Forward passes per round; a round's seconds are their mean."""

    @property
    def images_per_second(self) -> float:
        """Throughput at this batch size."""
        return self.batch_size / self.median


@dataclass(frozen=True)
class Speed:
    """What was measured of one network."""

    weights: Mapping[Form, int]
    flops: Mapping[Form, int]
    zeros: float
    """Share of the masked network's convolution and linear weights that are zero."""
    latencies: tuple[Latency, ...]
    refused: str | None
    """Why there is no shrunk form, None where there is one."""

    def ratio(self, form: Form, against: Form, batch_size: int, device: str) -> float:
        """Return how many times faster `form` is than `against`."""
        found = {
            one.form: one.median
            for one in self.latencies
            if (one.batch_size, one.device) == (batch_size, device) and one.form in (form, against)
        }
        return found[against] / found[form]

    def sentences(self) -> list[str]:
        """Return what the numbers mean, in plain sentences; the first says whether zeros make the network faster."""
        where = list(dict.fromkeys((one.device, one.batch_size) for one in self.latencies))
        said = [self._of_zeros(device, batch_size) for device, batch_size in where] if self.zeros else []
        if self.refused is not None:
            return [*said, f"no shrunk form: {self.refused}"]
        if "shrunk" not in self.weights:
            return [*said, "no filter is dead, so nothing can be removed physically"] if self.zeros else said
        return [*said, *(self._of_removal(device, batch_size) for device, batch_size in where)]

    def _of_zeros(self, device: str, batch_size: int) -> str:
        ratio = self.ratio("masked", "dense", batch_size, device)
        masked, dense = (self._one(form, device, batch_size) for form in ("masked", "dense"))
        faster = ratio > 1 and masked.high < dense.low
        verdict = "make it faster" if faster else "do not make it faster"
        return (
            f"{device}, batch {batch_size}: {self.zeros:.1%} zeros {verdict}: it is {ratio:.2f} times as fast as the "
            "same network without zeros"
        )

    def _of_removal(self, device: str, batch_size: int) -> str:
        ratio, fewer = self.ratio("shrunk", "masked", batch_size, device), self.flops["masked"] / self.flops["shrunk"]
        return (
            f"{device}, batch {batch_size}: without its dead filters the network is {ratio:.2f} times as fast, "
            f"with {fewer:.2f} times fewer operations"
        )

    def _one(self, form: str, device: str, batch_size: int) -> Latency:
        return next(
            one for one in self.latencies if (one.form, one.device, one.batch_size) == (form, device, batch_size)
        )

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        latencies = [{**asdict(one), "images_per_second": one.images_per_second} for one in self.latencies]
        return {
            "weights": dict(self.weights),
            "flops": dict(self.flops),
            "zeros": self.zeros,
            "latencies": latencies,
            "refused": self.refused,
            "sentences": self.sentences(),
        }


def measure_speed(
    module: nn.Module,
    example: Tensor,
    *,
    batch_sizes: Sequence[int] = (1, 64),
    devices: Sequence[torch.device | str] = ("cpu",),
    threads: int | None = None,
    seconds: float = 1.0,
    rounds: int = 15,
) -> Speed:
    """Time forward passes of a network as it is, without zeros, and without dead filters.

    All are in eval mode, float32, channels-last. The forms take turns, round by round, so that a machine that slows
    down slows all of them.

    Args:
        module: a plain network, masks folded in; it is not changed.
        example: images [B, C, H, W] in [0, 1] on the CPU; they are repeated to fill a batch.
        batch_sizes: images per pass.
        devices: where to measure, one after the other.
        threads: CPU threads of one operation; torch's present number where None.
        seconds: about how long each form is timed per batch size and device.
        rounds: in how many turns.

    Raises:
        UserError: a batch size, `seconds` or `rounds` below what can be measured.
    """
    if min(*batch_sizes, rounds) < 1 or not seconds > 0:
        raise UserError("batch sizes and rounds are at least 1, and seconds above 0")
    forms, refused = forms_of(module, example)
    used = torch.get_num_threads() if threads is None else threads
    found: list[Latency] = []
    for device in devices:
        placed = {form: copy.deepcopy(network).to(device) for form, network in forms.items()}
        for batch_size in batch_sizes:
            images = _batch(example, batch_size).to(device)
            found += _timed(placed, images, used, seconds, rounds)
    zeros, total = count_zeros(forms["masked"])
    return Speed(
        weights={form: count_zeros(network)[1] for form, network in forms.items()},
        flops={form: count_flops(network, example) for form, network in forms.items()},
        zeros=zeros / total if total else 0.0,
        latencies=tuple(found),
        refused=refused,
    )


def forms_of(module: nn.Module, example: Tensor) -> tuple[dict[Form, nn.Module], str | None]:
    """Return the network without zeros, as it is, and without dead filters if it has any; and why it cannot shrink."""
    forms: dict[Form, nn.Module] = {"dense": filled(module), "masked": copy.deepcopy(module).eval()}
    refused = None
    try:
        small = shrink(module, example)
        if small.channels:
            forms["shrunk"] = small.module.eval()
    except UserError as error:
        refused = str(error)
    for network in forms.values():
        set_memory_format(network, torch.channels_last)
    return forms, refused


@torch.no_grad()
def filled(module: nn.Module) -> nn.Module:
    """Return a copy whose zero weights are small random numbers: the same shapes, nothing to skip."""
    dense = copy.deepcopy(module).eval()
    generator = torch.Generator().manual_seed(0)
    for layer in dense.modules():
        if isinstance(layer, PRUNABLE):
            noise = torch.randn(layer.weight.shape, generator=generator).to(layer.weight.device) * 1e-2
            layer.weight.data = torch.where(layer.weight == 0, noise.to(layer.weight.dtype), layer.weight)
    return dense


def _batch(example: Tensor, batch_size: int) -> Tensor:
    copies = -(-batch_size // len(example))
    return example.repeat(copies, 1, 1, 1)[:batch_size].contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _timed(forms: Mapping[Form, nn.Module], images: Tensor, threads: int, seconds: float, rounds: int) -> list[Latency]:
    timers = {
        form: Timer("network(images)", globals={"network": network, "images": images}, num_threads=threads)
        for form, network in forms.items()
    }
    taken: dict[Form, list[float]] = {form: [] for form in forms}
    passes: dict[Form, int] = {}
    for form, timer in timers.items():
        with frozen(forms[form]):
            one = timer.timeit(_WARM_UP).mean  # it passes once more before, unmeasured
        passes[form] = max(1, round(seconds / rounds / one))
    for _ in range(rounds):
        for form, timer in timers.items():
            with frozen(forms[form]):
                taken[form].append(timer.timeit(passes[form]).mean)
    return [_latency(form, images, threads, taken[form], passes[form]) for form in forms]


def _latency(form: Form, images: Tensor, threads: int, taken: list[float], passes: int) -> Latency:
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else taken * 3
    return Latency(form, images.device.type, threads, len(images), median, low, high, len(taken), passes)
