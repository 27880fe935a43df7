"""What a page says of one run, gathered from its directory without building the network."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..leaderboards.local import Evaluated, best_evaluation
from ..registry import Entry, entry
from ..runs import LATENCY, RECORD, RunFolder, evaluations_of, find_runs, open_run
from .layers import Layer, layers_of


@dataclass(frozen=True)
class Subject:
    """A finished run: its files as they are, and what was worked out of them.

    Attributes:
        name: method, architecture and sparsity; with the directory where two runs are alike in these.
        run: the directory, with `run.json` and `report.json`.
        best: the evaluation that stands for it (`apx.leaderboards.local.best_evaluation`); None if never attacked.
        measured: the latest evaluation with distances to the boundary, samples included; None without one.
        layers: of `model.safetensors`, how many weights there are and how many are left.
        latency: what `apx bench` wrote; None without it.
        entry: the method's entry; None where its plugin is not installed.
    """

    name: str
    run: RunFolder
    best: Evaluated | None
    measured: Mapping[str, Any] | None
    layers: tuple[Layer, ...]
    latency: Mapping[str, Any] | None
    entry: Entry | None

    @property
    def report(self) -> Mapping[str, Any]:
        """The content of `report.json`."""
        assert self.run.report is not None  # as `open_subjects` sees to
        return self.run.report


def open_subjects(paths: Sequence[Path]) -> tuple[list[Subject], list[str]]:
    """Return the finished runs at `paths`, and a sentence for each directory in a folder that is left out.

    Args:
        paths: run directories, or folders that hold some.

    Raises:
        UserError: nothing is given or found, a path is no directory, a run given by itself has not ended or cannot be
            read.
    """
    if not paths:
        raise UserError("no runs are given: name run directories, or a folder that holds some")
    subjects: list[Subject] = []
    left_out: list[str] = []
    for path in paths:
        if (path / RECORD).is_file() or not path.is_dir():
            subjects.append(_subject(open_run(path)))
            continue
        found, broken = find_runs(path)
        left_out += broken
        for run in found:
            if run.finished:
                subjects.append(_subject(run))
            else:
                left_out.append(f"{run.path} has not ended and is left out")
    if not subjects:
        raise UserError(f"there is no finished run in {', '.join(map(str, paths))}: make one with `apx run`")
    shared = Counter(subject.name for subject in subjects)
    return [
        subject if shared[subject.name] == 1 else replace(subject, name=f"{subject.name} ({subject.run.path})")
        for subject in subjects
    ], left_out


def _subject(run: RunFolder) -> Subject:
    if run.report is None:
        raise UserError(f"the run {run.path} has not ended: finish it with `apx run --resume {run.path}` first")
    request = run.request
    name = f"{request.get('method')} {request.get('arch')} {100 * run.report['sparsity']['requested']:g} %"
    return Subject(
        name, run, best_evaluation(run), _measured(run), layers_of(run.path), _latency(run.path),
        _entry(str(request.get("method"))),
    )  # fmt: skip


def _measured(run: RunFolder) -> Mapping[str, Any] | None:
    documents = [
        document
        for document in evaluations_of(run).values()
        if "source" not in document and any(sample["distance"] is not None for sample in document["samples"])
    ]
    return documents[-1] if documents else None


def _latency(run: Path) -> Mapping[str, Any] | None:
    file = run / LATENCY
    if not file.is_file():
        return None
    try:
        found: Mapping[str, Any] = json.loads(file.read_bytes())
        return {"latencies": [*found["latencies"]], "sentences": [*found["sentences"]]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is no measurement of `apx bench` ({error!r}): measure again with `apx bench {run}`"
        ) from error


def _entry(method: str) -> Entry | None:
    try:
        return entry(method)
    except UserError:
        return None
