"""Rows of one's own runs: of each finished run its most searching evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runs import LATENCY, RunFolder, evaluations_of, find_runs, open_run
from .row import Row, Score

_STRENGTH = ("full", "plus", "standard", "benchmark2024", "sanity", "curve", "quick", "apx")
"""Protocols, the most searching first; a single attack is called apx."""
_BENCHMARK = {"cifar10", "svhn"}
_ON_BENCHMARK = 0.031
_TEST_IMAGES = 10_000


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
        runs, broken = _runs(folder)
        unreadable += broken
        for run in runs:
            try:
                row = run_row(run)
            except UserError as error:
                unreadable.append(str(error))
                continue
            rows += [] if row is None else [row]
    return rows, unreadable


def run_row(run: RunFolder) -> Row | None:
    """Return the row of a run; None where it has not ended or was never attacked.

    Raises:
        UserError: a results document in it cannot be read.
    """
    if run.report is None:
        return None
    found = best_evaluation(run)
    if found is None:
        return None
    report, request, variant = run.report, run.request, run.record.get("variant", {})
    sparsity = report["sparsity"]
    method = str(request.get("method"))
    return Row(
        source="local",
        place=str(run.path),
        method=method,
        name=method,
        dataset=str(found["dataset"]),
        arch=str(request.get("arch")),
        structure=str(variant.get("structure")),
        sparsity=100 * float(sparsity["requested"]),
        reported=100 * float(sparsity["reported"]),
        clean=_score(found["clean_accuracy"]),
        robust=_score(found["robust_accuracy"]),
        attack=attack_name(found),
        protocol=str(found["protocol"]),
        norm=found["threat"]["norm"],
        eps=float(found["threat"]["eps"]),
        n=int(found["n"]),
        selected_on=found["selected_on"],
        flops=_flops(report),
        milliseconds=_milliseconds(run.path / LATENCY),
        differs=tuple(differences(found, request)),
        remarks=tuple(warning["text"] for warning in found["warnings"] if warning["name"] != "partial"),
    )


def best_evaluation(run: RunFolder) -> Mapping[str, Any] | None:
    """Return the run's most searching results document: by protocol, then images, then date; None without any.

    A transfer attack shows another network's weakness and is left out.
    """
    documents: list[Mapping[str, Any]] = list(evaluations_of(run).values())
    if (own := (run.report or {}).get("results", {}).get("pruned")) is not None:
        documents.append(own)
    attacked = [one for one in documents if one["robust_accuracy"] is not None and "source" not in one]
    return max(attacked, key=_strength) if attacked else None


def _strength(document: Mapping[str, Any]) -> tuple[int, int, str]:
    protocol = str(document["protocol"])
    if protocol == "apx" and attack_name(document).startswith("AutoAttack"):
        protocol = "standard"
    rank = _STRENGTH.index(protocol) if protocol in _STRENGTH else len(_STRENGTH)
    return (-rank, int(document["n"]), str(document.get("created", "")))


def attack_name(document: Mapping[str, Any]) -> str:
    """Return what a results document's robust accuracy was measured with, in a word or two."""
    if document["protocol"] in ("standard", "benchmark2024"):
        return "AutoAttack"
    if document["protocol"] in ("plus", "full"):
        return f"AutoAttack {document['protocol']}"
    names = [str(attack["name"]) for attack in document["attacks"]]
    if names[:1] == ["apgd-ce"] and len(names) > 1:
        return "AutoAttack"
    return " + ".join(name.upper() for name in names)


def differences(document: Mapping[str, Any], request: Mapping[str, Any]) -> list[str]:
    """Return in short phrases what keeps a result from being compared with the published tables."""
    threat, found = document["threat"], []
    if document["dataset"] not in _BENCHMARK:
        found.append(f"data {document['dataset']}")
    if document["n"] != _TEST_IMAGES:
        found.append(f"n {document['n']:,}")
    if (attack := attack_name(document)) != "AutoAttack":
        found.append(f"attack {attack}")
    if threat["norm"] != "Linf":
        found.append(f"norm {threat['norm']}")
    if abs(threat["eps"] - _ON_BENCHMARK) > 1e-9:
        found.append(f"eps {threat['eps']:.4g}")
    if document["selected_on"] is None:
        found.append("selected on an unknown split")
    elif document["selected_on"] == "test":
        found.append("selected on test")
    if request.get("width") is not None:
        found.append(f"width {request['width']}")
    if request.get("preset") != "paper":
        found.append(f"preset {request.get('preset')}")
    if request.get("epochs_scale", 1.0) != 1.0:
        found.append(f"epochs x{request['epochs_scale']:g}")
    if request.get("set"):
        found.append("settings of its own")
    return found


def _runs(folder: Path) -> tuple[list[RunFolder], list[str]]:
    try:
        return [open_run(folder)], []
    except UserError:
        return find_runs(folder)


def _score(accuracy: Mapping[str, Any]) -> Score:
    return Score(*(round(100 * float(accuracy[name]), 2) for name in ("value", "low", "high")))


def _flops(report: Mapping[str, Any]) -> float | None:
    shrunk = report.get("shrunk")
    if not shrunk or "refused" in shrunk:
        return None
    return float(100 * shrunk["flops_after"] / shrunk["flops_before"])


def _milliseconds(file: Path) -> float | None:
    """Return the pruned network's milliseconds per pass of the smallest batch on the CPU, its faster form."""
    if not file.is_file():
        return None
    try:
        latencies = json.loads(file.read_bytes())["latencies"]
        own = [one for one in latencies if one["form"] != "dense" and one["device"] == "cpu"]
        least = min(one["batch_size"] for one in own)
        return min(1000 * float(one["median"]) for one in own if one["batch_size"] == least)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}): write it again with `apx bench {file.parent}`") from error
