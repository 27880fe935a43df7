"""What a run would do and cost, from a few timed steps: `apx run --dry-run`."""

import contextlib
import copy
import itertools
import resource
import sys
import time
from typing import Any

import torch
from torch import nn

from ..masked_model import MaskedModel
from ..masks import prunable_layers, unprunable_layers
from ..training.settings import TrainSettings
from .progress import Quiet
from .record import run_record
from .request import Request, Resolved, resolve
from .start import build_network, make_run

_TIMED_STEPS = 3


def plan(request: Request) -> dict[str, Any]:
    """Return resolved settings, phases with epochs and estimated seconds, and memory; nothing is written.

    Each distinct training phase takes a few steps on a copy of the dense network. Masks, scores and validation come
    on top, and a dense model that is in the cache costs nothing: the estimate says what a step of the phase costs.

    Raises:
        UserError: whatever `start` would refuse.
    """
    resolved = resolve(request)
    network = build_network(resolved)
    phases = [_timed(resolved, network, name, settings, times) for name, settings, times in planned_phases(resolved)]
    return {
        "record": run_record(resolved),
        "prunable_layers": len(prunable_layers(network, resolved.variant.excluded_layers)),
        "left_dense": unprunable_layers(network),
        "weights": sum(layer.get_parameter("weight").numel() for layer in prunable_layers(network).values()),
        "phases": phases,
        "seconds": sum(phase["seconds"] for phase in phases),
        "peak_memory_bytes": _peak_memory(resolved.device),
    }


def planned_phases(resolved: Resolved) -> list[tuple[str, TrainSettings, int]]:
    """Return (name, settings, how often) of the training phases of this run, in their order."""
    method, rounds = resolved.method, len(_targets(resolved))
    planned = []
    for name, settings in resolved.phases():
        if name == "pretrain":
            if method.needs_dense or (resolved.request.eval != "none" and resolved.request.preset == "quick"):
                planned.append((name, settings, 1))
        elif name in ("train", "finetune"):
            if rounds > 1 and name == "finetune":
                planned.append(("retrain", method.retrain_settings(), rounds - 1))  # type: ignore[attr-defined]
            planned.append((name, settings, 1))
        else:
            planned.append((name, settings, rounds))
    return planned


def _targets(resolved: Resolved) -> list[float]:
    return make_run(resolved, None, Quiet()).targets()


def _timed(resolved: Resolved, network: nn.Module, name: str, settings: TrainSettings, times: int) -> dict[str, Any]:
    steps = -(-len(resolved.data.train) // settings.batch_size)
    per_step = _seconds_per_step(resolved, network, settings)
    return {
        "name": name,
        "times": times,
        "epochs": settings.epochs,
        "steps_per_epoch": steps,
        "objective": settings.objective,
        "seconds_per_step": per_step,
        "seconds": per_step * steps * settings.epochs * times,
    }


def _seconds_per_step(resolved: Resolved, network: nn.Module, settings: TrainSettings) -> float:
    """Take a few steps on a copy and return the median time of one, the first left out (it allocates)."""
    run = make_run(resolved, None, Quiet())
    times: list[float] = []

    class Enough(Exception):  # noqa: N818 - ends the phase, no error
        pass

    class Clock:
        def phase(self, name: str, steps: int, done: int = 0) -> None:
            times.append(time.perf_counter())

        def step(self, loss: float | None = None) -> None:
            times.append(time.perf_counter())
            if len(times) > _TIMED_STEPS + 1:
                raise Enough

        def note(self, text: str) -> None: ...

        def close(self) -> None: ...

    run.progress = Clock()
    model = MaskedModel(copy.deepcopy(network))
    teacher = copy.deepcopy(network)  # for objectives that have one
    with contextlib.suppress(Enough):
        run.train("timing", model, settings.model_copy(update={"epochs": 1, "handover": "last"}), teacher=teacher)
    laps = [after - before for before, after in itertools.pairwise(times)]
    return float(torch.tensor(laps[1:] or laps).median())


def _peak_memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # kilobytes but on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
