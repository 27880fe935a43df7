"""The observer that writes a run's curves as TensorBoard event files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apx import MaskedModel, Observer, Run, UserError
from apx.masks import weight_names

from .events import FOLDER, EventFile, points


class TensorBoard(Observer):
    """Writes `PHASE/loss`, `PHASE/lr` and whatever else an epoch's record holds, and the network's `sparsity`.

    The step counts the run's epochs from 0 through all phases, by the run's own record of them (`metrics.jsonl`), so
    that it is the same in every life of a run. Each phase opens an event file that begins by calling off all points
    from its first step on: where an epoch is repeated after a kill, TensorBoard shows the repetition alone.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._steps: dict[tuple[str, int], int] = {}
        self._models: dict[str, MaskedModel] = {}
        self._file: EventFile | None = None

    def run_start(self, run: Run) -> None:
        """Learn where the run writes, and which epochs it has seen in earlier lives.

        Raises:
            UserError: the run writes nowhere.
        """
        if run.directory is None:
            raise UserError("the observer tensorboard writes into the run directory, and this run has none")
        if run.writes:
            self._folder = run.directory.path / FOLDER
        for record in run.directory.metrics():
            self._step(record)

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        """Remember whose sparsity the phase's epochs show."""
        self._models[phase] = model

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Write one epoch's points; they are on disk when this returns, before the epoch's checkpoint is."""
        if self._folder is None:  # another process of this run writes
            return
        step = self._step(record)
        if self._file is None:
            self._file = EventFile(self._folder, step)
        self._file.write(step, {**points(record), "sparsity": sparsity(self._models[record["phase"]])})

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        """Close the phase's file."""
        self._models.pop(phase, None)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _step(self, record: Mapping[str, Any]) -> int:
        """Return the number of an epoch in its run: the one it has already, or the next."""
        return self._steps.setdefault((record["phase"], record["epoch"]), len(self._steps))


def sparsity(model: MaskedModel) -> float:
    """Return the zeros among the effective convolution and linear weights, as a share of all: in [0, 1]."""
    weights = [model.fold(name) for name in weight_names(model.module)]
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0
