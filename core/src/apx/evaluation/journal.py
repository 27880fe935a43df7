"""The record of an evaluation under way, batch by batch, so that a killed one goes on where it was.

One JSON line for each finished batch or trial, written and synced when it ends. The file is named by a hash of all that
determines the result, so the same command finds it again and another one does not.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import UserError
from ..paths import home

_VERSION = 1  # raise when a batch of the same settings would end otherwise


@dataclass(frozen=True)
class Finished:
    """What came of one batch: the samples broken, distances, images that did not count, warnings, seconds."""

    rows: list[int]
    broken: list[int]
    distances: list[float] | None = None
    rejected: int = 0
    heard: list[str] = field(default_factory=list)
    batch_size: int = 0
    seconds: float = 0.0


class Journal:
    """What of an evaluation is done already, and what gets done; one file in `folder`, nothing where that is None."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.path: Path | None = None
        self._batches: dict[tuple[str, int], Finished] = {}
        self._trials: dict[str, list[dict[str, Any]]] = {}
        self.recalled = 0
        """Batches and trials that an earlier life had finished."""
        self.earlier = 0.0
        """Seconds of those batches."""

    @classmethod
    def at_home(cls) -> "Journal":
        """Return a journal in the cache folder, where the next call with the same arguments finds it."""
        return cls(home() / "evaluations")

    def open(self, determines: Mapping[str, Any]) -> None:
        """Read what an evaluation with these settings has left; a line that a kill cut short is dropped.

        Raises:
            UserError: the folder cannot be written.
        """
        if self._folder is None:
            return
        text = json.dumps({"version": _VERSION, **determines}, sort_keys=True, default=str)
        self.path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._read(self.path)
            self.path.touch()
        except OSError as error:
            raise UserError(
                f"cannot keep the record of the evaluation in {self._folder} ({error}): set APX_HOME"
            ) from error

    def _read(self, path: Path) -> None:
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None:
                break  # the kill came while this line was written: what follows is not there
            whole += len(line)
            self._take(entry)
        if path.exists() and whole < path.stat().st_size:
            os.truncate(path, whole)

    def _take(self, entry: dict[str, Any]) -> None:
        self.recalled += 1
        if "trial" in entry:
            self._trials.setdefault(entry["attack"], []).append(entry["trial"])
            return
        finished = Finished(**entry["batch"])
        self.earlier += finished.seconds
        self._batches[entry["attack"], finished.rows[0]] = finished

    def recall(self, attack: str, first_row: int) -> Finished | None:
        """Return what came of the batch of `attack` that begins with this row, None where it is still to do."""
        return self._batches.get((attack, first_row))

    def trials(self, attack: str) -> list[dict[str, Any]]:
        """Return the trials of a tuned attack that are done, in their order."""
        return self._trials.get(attack, [])

    def add(self, attack: str, finished: Finished) -> None:
        """Record a batch."""
        self._append({"attack": attack, "batch": vars(finished)})

    def add_trial(self, attack: str, trial: Mapping[str, Any]) -> None:
        """Record a trial."""
        self._append({"attack": attack, "trial": dict(trial)})

    def discard(self) -> None:
        """Remove the file: the result is where the user wants it."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _append(self, entry: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        with self.path.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def digest(module: nn.Module) -> str:
    """Return a SHA-256 (hex) of a network's class and tensors: its identity in a journal."""
    state = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        state.update(f"{name}{tuple(tensor.shape)}".encode())
        state.update(_bytes(tensor))
    return state.hexdigest()


def tensor_digest(*tensors: Tensor) -> str:
    """Return a SHA-256 (hex) of tensors' shapes and values."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(str(tuple(tensor.shape)).encode())
        state.update(_bytes(tensor))
    return state.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
