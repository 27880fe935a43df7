"""Core's own eyes on a run: which masks were in force, when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..masked_model import MaskedModel
from ..masks import Masks, weight_names
from ..runner.observer import Observer

Moment = Literal["created", "start", "step", "masks", "end"]
Scores = Callable[[MaskedModel], Mapping[str, Tensor] | None]


@dataclass(frozen=True)
class Observation:
    """The masks in force at one moment of a run.

    `moment` is `created` (before anything ran), `start` or `end` of a phase, `step` (after an optimiser step) or
    `masks` (they have just been set). `epoch` and `step` are those of a step. `digest` is equal for equal masks,
    `kept` and `total` count convolution and linear weights. `own` is false where the phase ran on another model than
    the run's, such as a copy that a method trains aside.
    """

    phase: str
    moment: Moment
    digest: str
    kept: int
    total: int
    own: bool = True
    epoch: int | None = None
    step: int | None = None

    @property
    def density(self) -> float:
        """Share of the convolution and linear weights that the masks keep."""
        return self.kept / self.total


class Recorder(Observer):
    """Looks at the masks of `model` whenever something happens; the method has no say in it.

    Args:
        model: the run's model.
        scores: `Method.scores`, asked each time masks are set, since the weights move on afterwards.
    """

    def __init__(self, model: MaskedModel, scores: Scores | None = None) -> None:
        self.observations: list[Observation] = []
        self.scores: dict[str, Tensor] | None = None
        self._model = model
        self._ask = scores
        self._phases: list[str] = []
        self._scored = ""
        model.on_masks.append(self._masks_set)
        self._note("created", model)

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        """Note the masks with which a phase starts."""
        self._phases.append(phase)
        self._note("start", model)

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        """Note the masks after a step."""
        self._note("step", model, epoch, step)

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        """Note the masks with which a phase ends."""
        self._note("end", model)
        self._phases.pop()

    def finish(self) -> None:
        """Note that the run is over: masks that were learned, never set, are scored now."""
        if self.observations[-1].digest != self._scored:
            self._take_scores()

    def _masks_set(self, model: MaskedModel) -> None:
        self._note("masks", model)
        self._take_scores()

    def _take_scores(self) -> None:
        if self._ask is None:
            return
        with torch.no_grad():
            scores = self._ask(self._model)
        self.scores = None if scores is None else {name: score.detach().clone() for name, score in scores.items()}
        self._scored = self.observations[-1].digest

    def _note(self, moment: Moment, model: MaskedModel, epoch: int | None = None, step: int | None = None) -> None:
        phase = self._phases[-1] if self._phases else ""
        digest, kept, total = _measure(model)
        own = model is self._model
        self.observations.append(Observation(phase, moment, digest, kept, total, own, epoch, step))


def _measure(model: MaskedModel) -> tuple[str, int, int]:
    """Return (digest, kept, total) of the masks in force; a mask that keeps all counts like none."""
    masks = model.current_masks()
    limiting = Masks({name: mask for name, mask in masks.items() if not bool(mask.all())})
    names = weight_names(model.module)
    total = sum(model.module.get_parameter(name).numel() for name in names)
    removed = sum(int((~limiting[name]).sum()) for name in names if name in limiting)
    return limiting.digest(), total - removed, total
