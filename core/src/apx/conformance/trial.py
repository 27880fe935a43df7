"""One run of a subject under the recorder, undisturbed or stopped and resumed."""

import itertools
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..masked_model import MaskedModel
from ..masks import Masks
from ..randomness import derive_seed
from ..runner.context import Run
from ..runner.directory import RunDirectory
from ..runner.interrupts import Interrupted, Interrupts
from ..runner.observer import Observer
from ..training.trainer import Environment
from .data import Guard, tiny_dataset
from .recorder import Observation, Recorder
from .subject import Subject

_salts = itertools.count(1)


@dataclass(frozen=True)
class Trial:
    """A finished run: what the recorder saw, the masks in force at the end, the exported network, the metrics."""

    subject: Subject
    seed: int
    observations: tuple[Observation, ...]
    scores: dict[str, Tensor] | None
    masks: Masks
    names: tuple[str, ...]  # the weights that the variant may prune
    module: nn.Module  # the exported network, eval mode
    example: Tensor
    metrics: tuple[dict[str, Any], ...]
    stopped: int  # how often the run was stopped before it ended

    @property
    def state(self) -> dict[str, Tensor]:
        """The exported network's state dict."""
        return self.module.state_dict()

    def same_result(self, other: "Trial") -> bool:
        """Say whether masks and exported tensors are bitwise those of `other`."""
        mine, theirs = self.state, other.state
        return (
            self.masks.digest() == other.masks.digest()
            and mine.keys() == theirs.keys()
            and all(torch.equal(mine[name], theirs[name]) for name in mine)
        )


class Killed(BaseException):
    """Stands for SIGKILL: no handler of a method may catch it."""


@dataclass(frozen=True)
class Stop:
    """Where a run ends untimely: after a step (0-based) of an epoch, or at a phase's start where both are None.

    `kill` ends it at once, `interrupt` as SIGTERM does: after a checkpoint at that step.
    """

    phase: str
    epoch: int | None = None
    step: int | None = None
    how: Literal["kill", "interrupt"] = "kill"


class Stopper(Observer):
    """Ends a run at the next of its stops that is reached, each stop once."""

    def __init__(self, stops: tuple[Stop, ...]) -> None:
        self.interrupts = Interrupts()
        self.stopped = 0
        self._pending = list(stops)

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        """Stop at a phase's start."""
        self._reached(phase, None, None)

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        """Stop after a step."""
        self._reached(phase, epoch, step)

    def revive(self) -> None:
        """Begin the run's next life."""
        self.interrupts = Interrupts()

    def _reached(self, phase: str, epoch: int | None, step: int | None) -> None:
        for stop in self._pending:
            if (stop.phase, stop.epoch, stop.step) == (phase, epoch, step):
                self._pending.remove(stop)
                self.stopped += 1
                if stop.how == "kill":
                    raise Killed
                self.interrupts.signum = signal.SIGTERM
                return


def perform(subject: Subject, path: Path, *, seed: int, guard: Guard) -> Trial:
    """Run a subject once, undisturbed, in the new run directory `path`.

    Raises:
        UserError: the network is beyond the variant.
    """
    return _live(subject, RunDirectory.create(path, {}), seed, guard)


def perform_interrupted(subject: Subject, path: Path, stops: tuple[Stop, ...], *, seed: int, guard: Guard) -> Trial:
    """Run a subject and stop it at each of `stops`; every life starts from nothing but the run directory."""
    directory, stopper = RunDirectory.create(path, {}), Stopper(stops)
    while True:
        try:
            return _live(subject, directory, seed, guard, stopper)
        except (Killed, Interrupted):
            directory = RunDirectory.open(path)
            stopper.revive()


def stops_for(trial: Trial) -> tuple[Stop, ...]:
    """Choose where to stop a run like `trial`: in each training phase, in the last one twice, and before pruning.

    Steps are those of the second epoch, so that hooks have something to forget; kills and interrupts take turns.
    """
    trained = list(dict.fromkeys(seen.phase for seen in trial.observations if seen.moment == "step"))
    started = list(dict.fromkeys(seen.phase for seen in trial.observations if seen.moment == "start"))
    stops = [Stop(phase) for phase in started[1:] or started if phase not in trained]
    for number, phase in enumerate(trained):
        steps = [s for s in trial.observations if s.phase == phase and s.moment == "step"]
        epoch = min(1, max(seen.epoch or 0 for seen in steps))
        if number % 2 == 0 or phase == trained[-1]:
            stops.append(Stop(phase, epoch, 0, "kill"))
        if number % 2 == 1 or phase == trained[-1]:
            stops.append(Stop(phase, epoch, 1, "interrupt"))
    return tuple(stops)


def _live(subject: Subject, directory: RunDirectory, seed: int, guard: Guard, stopper: Stopper | None = None) -> Trial:
    """Live one life of a run.

    The global generator starts elsewhere each time, as it may in another process. Scores are asked of undisturbed
    runs only: a method need not keep for the checker what a real run never asks for again.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(next(_salts), "conformance"))
        model = MaskedModel(subject.build_network(seed))
        method = subject.method(subject.settings, subject.variant)
        recorder = Recorder(model, method.scores if stopper is None else None)
        run = _run(subject, directory, seed, guard)
        run.observers.append(recorder)
        if stopper is not None:
            run.observers.append(stopper)
            run.interrupts = stopper.interrupts
        method.execute(model, run)
        recorder.finish()
        return Trial(
            subject=subject,
            seed=seed,
            observations=tuple(recorder.observations),
            scores=recorder.scores,
            masks=model.current_masks(),
            names=tuple(run.prunable(model)),
            module=method.export(model, run).eval(),
            example=run.example,
            metrics=tuple(directory.metrics()),
            stopped=0 if stopper is None else stopper.stopped,
        )


def _run(subject: Subject, directory: RunDirectory, seed: int, guard: Guard) -> Run:
    from ..registry import objectives

    return Run(
        variant=subject.variant,
        sparsity=subject.settings.sparsity,
        rounds=subject.settings.rounds,
        environment=Environment(tiny_dataset(guard), seed, torch.device("cpu")),
        directory=directory,
        objectives=objectives(),
    )
