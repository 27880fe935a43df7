"""Run directories from outside: find, describe and remove them without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .claim import claimed
from .errors import UserError

RECORD = "run.json"
REPORT = "report.json"
EVALUATIONS = "evaluations"
"""Folder of a run directory with the results documents of `apx evaluate RUN`."""
LATENCY = "latency.json"
"""File of a run directory with what `apx bench RUN` measured."""


@dataclass(frozen=True)
class RunFolder:
    """A run directory: its path, `run.json`, and `report.json` where the run has ended."""

    path: Path
    record: Mapping[str, Any]
    report: Mapping[str, Any] | None

    @property
    def finished(self) -> bool:
        """Whether the run has ended; another can be resumed."""
        return self.report is not None

    @property
    def request(self) -> Mapping[str, Any]:
        """What the run was asked."""
        request = self.record.get("request", {})
        return request if isinstance(request, Mapping) else {}

    def summary(self) -> dict[str, Any]:
        """Return what a listing shows, as plain JSON values."""
        sparsity = (self.report or {}).get("sparsity", {})
        return {
            "path": str(self.path),
            "method": self.request.get("method"),
            "arch": self.request.get("arch"),
            "dataset": self.request.get("dataset"),
            "seed": self.request.get("seed"),
            "created": self.record.get("created"),
            "finished": self.finished,
            "sparsity": sparsity.get("reported") if isinstance(sparsity, Mapping) else None,
            "bytes": folder_size(self.path),
        }


def open_run(path: Path) -> RunFolder:
    """Read a run directory.

    Raises:
        UserError: `path` is not one, or its files cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"there is no directory {path}; `apx runs list` shows the run directories")
    if not (path / RECORD).is_file():
        raise UserError(f"{path} is not a run directory: it has no {RECORD}")
    record = _object(path / RECORD)
    if "apx_run" not in record:
        raise UserError(f"{path} is not a run directory: its {RECORD} was not written by apx")
    return RunFolder(path, record, _object(path / REPORT) if (path / REPORT).is_file() else None)


def evaluation_file(run: Path, document: Mapping[str, Any]) -> Path:
    """Return where a run directory keeps a results document: the same evaluation made again takes its place."""
    threat, how = document["threat"], document["protocol"]
    if how == "apx":  # a single attack
        how = "-".join(str(attack["name"]) for attack in document["attacks"]) or "clean"
    if "source" in document:
        how = f"{how}-transfer"
    name = f"{how}-{threat['norm']}-{threat['eps']:.4g}-n{document['n']}"
    return run / EVALUATIONS / f"{name.lower()}.json"


def evaluations_of(run: RunFolder) -> dict[Path, dict[str, Any]]:
    """Return the results documents that `apx evaluate` left in a run directory, by file, oldest first.

    Raises:
        UserError: one of the files is no results document.
    """
    from .evaluation.stored import read_document

    folder = run.path / EVALUATIONS
    found = {file: read_document(file) for file in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
    return dict(sorted(found.items(), key=lambda item: str(item[1]["created"])))


def find_runs(folder: Path) -> tuple[list[RunFolder], list[str]]:
    """Return the run directories directly under `folder`, oldest first, and a sentence for each unreadable one.

    Raises:
        UserError: `folder` is not a directory.
    """
    if not folder.is_dir():
        raise UserError(f"there is no directory {folder}; give --dir the folder that holds the run directories")
    runs: list[RunFolder] = []
    unreadable: list[str] = []
    for path in sorted(path for path in folder.iterdir() if (path / RECORD).is_file()):
        try:
            runs.append(open_run(path))
        except UserError as error:
            unreadable.append(str(error))
    return sorted(runs, key=lambda run: str(run.record.get("created", ""))), unreadable


def remove_run(run: RunFolder) -> None:
    """Delete a run directory with everything in it.

    Raises:
        UserError: the path is a symbolic link (what it points to is left alone), a process works there, or it cannot
            be deleted.
    """
    if run.path.is_symlink():
        raise UserError(f"{run.path} is a symbolic link; remove the run directory that it points to")
    try:
        with claimed(run.path):
            pass  # nobody works there
        shutil.rmtree(run.path)
    except OSError as error:
        raise UserError(f"{run.path} cannot be removed: {error.strerror or error}") from error


def folder_size(folder: Path) -> int:
    """Return the bytes of all files under `folder`; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _object(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise UserError(f"{file} holds no JSON object")
    return document
