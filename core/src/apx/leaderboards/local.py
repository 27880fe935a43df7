"""Rows of one's own results: of each finished run one evaluation, of each results document its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from apx_taxonomy import ModelKey, ModelKeyError, validate

from ..errors import UserError
from ..runs import EVALUATIONS, LATENCY, RECORD, REPORT, RunFolder, find_runs, open_run
from .attack import attack_of, rank
from .differs import marked
from .published import printed_name
from .reading import read_json, results_summary
from .row import Row, Score


class Evaluated(NamedTuple):
    """A results document without its samples, and its row."""

    document: Mapping[str, Any]
    row: Row

    @property
    def created(self) -> str:
        """When it was measured, ISO 8601 in UTC."""
        return str(self.document.get("created"))


def local_rows(folders: Iterable[Path]) -> tuple[list[Row], list[str]]:
    """Return a row per finished run with an evaluation, and a sentence for each directory that cannot be read.

    Args:
        folders: run directories, or folders that hold some.

    Raises:
        UserError: a path is no directory.
    """
    rows: list[Row] = []
    unreadable: list[str] = []
    for folder in folders:
        for path in _run_directories(folder, unreadable):
            try:
                row = run_row(open_run(path))
            except UserError as error:
                unreadable.append(str(error))
                continue
            rows += [] if row is None else [row]
    return rows, unreadable


def _run_directories(folder: Path, unreadable: list[str]) -> Iterator[Path]:
    if not folder.is_dir():
        raise UserError(f"there is no directory {folder}: give run directories, or a folder that holds some")
    if (folder / RECORD).is_file():
        yield folder
        return
    runs, broken = find_runs(folder)
    unreadable += broken
    yield from (run.path for run in runs)


def run_row(run: RunFolder) -> Row | None:
    """Return the row of a run's `best_evaluation`; None where it has not ended or was never attacked.

    Raises:
        UserError: a file of the run cannot be read, or is not what its name says.
    """
    found = best_evaluation(run)
    return None if found is None else found.row


def best_evaluation(run: RunFolder) -> Evaluated | None:
    """Return the evaluation that stands for a run; None where it has not ended or was never attacked.

    Of several evaluations that one counts which differs least from the published protocol; of these the most
    searching attack, the most images, the lower robust accuracy, the latest. If another one of the same threat leaves
    less, a remark says so. A transfer attack shows another network's weakness and is left out.

    Raises:
        UserError: a file of the run cannot be read, or is not what its name says.
    """
    if run.report is None:
        return None
    if problems := validate(run.report, "report"):
        raise UserError(f"{run.path / REPORT} is no report of a run ({problems[0]}): make the run again")
    shared = _of_run(run, run.report)
    found = [
        Evaluated(one, marked(replace(document_row(one, str(run.path)), **shared), run.request))
        for one in _evaluations(run, run.report)
        if one["robust_accuracy"] is not None and "source" not in one
    ]
    if not found:
        return None
    best = min(sorted(found, key=lambda one: one.created, reverse=True), key=lambda one: _preference(one.row))
    remarks = (*best.row.remarks, *_weaker(best.row, [one.row for one in found]))
    return best._replace(row=replace(best.row, remarks=remarks))


def document_row(document: Mapping[str, Any], place: str) -> Row:
    """Return the row of a results document by itself, unmarked; what it does not say is None.

    Raises:
        UserError: it names no pruning method.
    """
    method = document["method"]
    if method is None:
        raise UserError(f"{place} names no pruning method: a leaderboard holds the results of pruned networks")
    sparsity, robust = document.get("sparsity", {}), document["robust_accuracy"]
    reported, requested = sparsity.get("reported"), sparsity.get("requested")
    asked = next((share for share in (requested, reported) if share is not None), 0.0)
    return Row(
        source="local",
        place=place,
        method=method,
        name=printed_name(method),
        dataset=document["dataset"],
        arch=str(document["arch"]),
        structure=_structure(document),
        sparsity=_percent(asked),
        unit=sparsity.get("unit"),
        reported=None if reported is None else _percent(reported),
        clean=_score(document["clean_accuracy"]),
        robust=None if robust is None else _score(robust),
        attack=attack_of(document),
        protocol=document["protocol"],
        norm=document["threat"]["norm"],
        eps=float(document["threat"]["eps"]),
        n=document["n"],
        selected_on=document["selected_on"],
        remarks=tuple(warning["text"] for warning in document["warnings"] if warning["name"] != "partial"),
    )


def _of_run(run: RunFolder, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run knows better than its evaluations."""
    sparsity = report["sparsity"]
    return {
        "structure": run.record.get("variant", {}).get("structure"),
        "sparsity": _percent(sparsity["requested"]),
        "unit": sparsity["unit"],
        "own": _percent(sparsity["own"]),
        "reported": _percent(sparsity["reported"]),
        "flops": _flops(report),
        "milliseconds": _milliseconds(run.path / LATENCY),
    }


def _evaluations(run: RunFolder, report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    own = report["results"].get("pruned")
    if own is not None:
        yield results_summary(run.path / REPORT, own)
    for file in sorted((run.path / EVALUATIONS).glob("*.json")):
        yield results_summary(file)


def _preference(row: Row) -> tuple[int, int, int, float]:
    assert row.n is not None  # of a results document
    assert row.robust is not None  # as chosen above
    return len(row.differs), rank(row.attack), -row.n, row.robust.value


def _weaker(best: Row, others: Iterable[Row]) -> list[str]:
    """Say that another evaluation of the same threat, on no fewer images, leaves less."""
    assert best.robust is not None
    assert best.n is not None
    least = min(
        (row for row in others if (row.norm, row.eps) == (best.norm, best.eps) and (row.n or 0) >= best.n),
        key=lambda row: row.robust.value if row.robust is not None else 100.0,
    )
    if least.robust is None or least.robust.value >= best.robust.value:
        return []
    return [
        f"{least.attack} on {least.n:,} images leaves the network of {best.place} {least.robust.value:.2f} % robust "
        "accuracy."
    ]


def _structure(document: Mapping[str, Any]) -> str | None:
    """Return US or S as a model key says it, or as the unit of the sparsity implies."""
    try:
        return ModelKey.parse(document["target"]).structure
    except ModelKeyError:
        unit = document.get("sparsity", {}).get("unit")
    if unit in (None, "macs"):
        return None
    return "US" if unit == "weights" else "S"


def _score(accuracy: Mapping[str, Any]) -> Score:
    return Score(*(round(100 * float(accuracy[name]), 6) for name in ("value", "low", "high")))


def _percent(share: float) -> float:
    return round(100 * float(share), 6)


def _flops(report: Mapping[str, Any]) -> float | None:
    shrunk = report.get("shrunk")
    if not shrunk or "refused" in shrunk:
        return None
    return float(100 * shrunk["flops_after"] / shrunk["flops_before"])


def _milliseconds(file: Path) -> float | None:
    """Return the milliseconds of one image on the CPU, masked or shrunk, whichever is faster; None if not measured."""
    if not file.is_file():
        return None
    again = f"measure again with `apx bench {file.parent}`"
    try:
        latencies = read_json(file, "what `apx bench` wrote")["latencies"]
        times = [
            1000 * float(one["median"])
            for one in latencies
            if one["form"] != "dense" and one["device"] == "cpu" and one["batch_size"] == 1
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is no measurement of `apx bench` ({error!r}): {again}") from error
    return min(times, default=None)
