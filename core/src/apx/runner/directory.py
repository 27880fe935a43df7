"""A run directory: what was asked, metrics, checkpoints, result. Every file appears whole or not at all."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..paths import atomic_write, settle, write_unsynced
from ..state_file import encode_state, load_state, save_state
from .background import BackgroundJob


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically."""
    atomic_write(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


class RunDirectory:
    """`run.json`, `metrics.jsonl`, `checkpoints/`, `model.safetensors`, `masks.safetensors`, `report.json`.

    A phase's state at its end is `checkpoints/<path>.safetensors`; a state on the way is `<path>.partial.safetensors`,
    and `<path>.recent-<crc32>.safetensors` while it is being synced: whole for whoever resumes after a kill, and known
    by its checksum to be so or not after a power cut.
    The existence of a file is the record: nothing else has to agree with it after a kill.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._syncing = BackgroundJob()
        self._logged: set[tuple[str, int]] | None = None

    @classmethod
    def create(cls, path: Path, record: Mapping[str, Any]) -> "RunDirectory":
        """Make a new run directory holding `run.json`.

        Raises:
            UserError: `path` exists.
        """
        if path.exists():
            raise UserError(
                f"the output directory {path} exists; choose another --out, or continue it with --resume {path}"
            )
        write_json(path / "run.json", record)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open an existing run directory.

        Raises:
            UserError: `path` holds no readable run.json.
        """
        directory = cls(path)
        directory.record()
        return directory

    def record(self) -> dict[str, Any]:
        """Return `run.json`."""
        try:
            return json.loads((self.path / "run.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"{self.path} is not a run directory: its run.json cannot be read ({error})") from None

    def report(self) -> dict[str, Any] | None:
        """Return `report.json`, or None while the run has not ended."""
        path = self.path / "report.json"
        return json.loads(path.read_text()) if path.exists() else None

    # -- phases -------------------------------------------------------------------------------------------------

    def finished(self, phase: str, device: str = "cpu") -> dict[str, Any] | None:
        """Return a phase's state at its end, or None if it has not ended."""
        path = self._file(phase, "")
        return load_state(path, device) if path.exists() else None

    def has_finished(self, phase: str) -> bool:
        """Say whether a phase has ended."""
        return self._file(phase, "").exists()

    def partial(self, phase: str, device: str = "cpu") -> dict[str, Any] | None:
        """Return the last checkpoint inside a phase, or None."""
        for recent in self._recent(phase):
            if recent.name == self._recent_name(phase, recent.read_bytes()):
                return load_state(recent, device)
        path = self._file(phase, ".partial")
        return load_state(path, device) if path.exists() else None

    def save_partial(self, phase: str, state: Mapping[str, Any]) -> None:
        """Write a checkpoint inside a phase; a kill cannot lose it any more, a power cut not after `settle`.

        Syncing a large file takes seconds, so it happens beside the training.
        """
        content = encode_state(dict(state))
        self.settle()
        for outdated in self._recent(phase):  # left by an earlier life of this run
            outdated.unlink()
        recent = self.checkpoints / self._recent_name(phase, content)
        write_unsynced(recent, content)
        self._syncing.submit(lambda: settle(recent, self._file(phase, ".partial").name))

    def settle(self) -> None:
        """Return once the last checkpoint is synced."""
        self._syncing.wait()

    def finish(self, phase: str, state: Mapping[str, Any]) -> None:
        """Record a phase's end; checkpoints inside it and of its inner phases are no longer needed."""
        self.settle()
        save_state(self._file(phase, ""), dict(state))
        for inner in [
            self._file(phase, ".partial"),
            *self._recent(phase),
            *self.checkpoints.glob(f"{_flat(phase)}--*.safetensors"),
        ]:
            inner.unlink(missing_ok=True)

    def finish_run(self, report: Mapping[str, Any]) -> None:
        """Write `report.json`: from now on the run counts as ended."""
        write_json(self.path / "report.json", report)

    def _file(self, phase: str, suffix: str) -> Path:
        return self.checkpoints / f"{_flat(phase)}{suffix}.safetensors"

    def _recent(self, phase: str) -> list[Path]:
        return list(self.checkpoints.glob(f"{_flat(phase)}.recent-*.safetensors"))

    @staticmethod
    def _recent_name(phase: str, content: bytes) -> str:
        return f"{_flat(phase)}.recent-{zlib.crc32(content):08x}.safetensors"

    # -- metrics ------------------------------------------------------------------------------------------------

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one epoch's record to `metrics.jsonl`; an epoch repeated after a kill is written once."""
        if self._logged is None:
            self._logged = self._repair()
        key = (record["phase"], record["epoch"])
        if key in self._logged:
            return
        self._logged.add(key)
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return all complete records of `metrics.jsonl`."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []  # a torn last line has no newline
        return [json.loads(line) for line in lines]

    def _repair(self) -> set[tuple[str, int]]:
        records = self.metrics()
        path = self.path / "metrics.jsonl"
        if path.exists():
            atomic_write(path, "".join(json.dumps(record) + "\n" for record in records).encode())
        return {(record["phase"], record["epoch"]) for record in records}


def _flat(phase: str) -> str:
    return phase.replace("/", "--")
