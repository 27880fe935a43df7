"""Whether runs can be submitted: a verdict on each rule, none of which is left unsaid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apx_taxonomy import validate
from apx_taxonomy.model_key import DATASETS, SPARSITIES

from ..errors import UserError
from .candidate import Candidate

IMAGES = 10_000
"""Images on which the published tables are measured: the first ones of the test set."""
SUITE = 12
_BENCHMARK_NETWORKS = ("resnet18", "vgg16")
_NEAR = 1e-6

State = Literal["ok", "problem", "advice"]


@dataclass(frozen=True)
class Verdict:
    """What one rule says: `problem` keeps the runs from being submitted, `advice` does not."""

    rule: str
    state: State
    text: str


def problems(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts that keep runs from being submitted."""
    return [one for one in verdicts if one.state == "problem"]


def check(candidates: Sequence[Candidate]) -> list[Verdict]:
    """Hold runs against the rules of their board, set by set and run by run; opens each network.

    At least three checkpoints, the three sparsities of one architecture, data set and structure; a valid entry; a
    complete evaluation by AutoAttack on the whole test split (of the benchmark's: its first 10,000 images); one
    threat; nothing selected on the test split; weights that load strictly; normalisation stated.
    """
    found = [*_of_the_set(candidates)]
    for candidate in candidates:
        found += _of_the_run(candidate)
    return found


def _of_the_set(candidates: Sequence[Candidate]) -> Iterator[Verdict]:
    methods = sorted({candidate.entry.slug for candidate in candidates})
    if len(methods) > 1:
        yield Verdict("one method", "problem", f"the runs are of {', '.join(methods)}: submit one method at a time")
    yield from _of_entry(candidates[0])
    yield from _of_sparsities(candidates)
    yield _one(candidates, "one threat", _threat, "evaluate all of them by the same one")
    yield _one(candidates, "one protocol", lambda document: str(document["protocol"]), "evaluate all of them by one")
    yield from _of_settings(candidates)


def _of_entry(candidate: Candidate) -> Iterator[Verdict]:
    entry = candidate.entry
    if faults := validate(dict(entry.document), "entry"):
        yield Verdict("entry", "problem", f"the entry of {entry.slug} is not valid: {faults[0]}")
    elif candidate.board == "benchmark" and entry.key is None:
        yield Verdict(
            "entry", "problem", f"the entry of {entry.slug} has no key: the board wants NAME_Author2024Word in it"
        )
    else:
        yield Verdict("entry", "ok", f"the entry of {entry.slug} is valid")


def _of_sparsities(candidates: Sequence[Candidate]) -> Iterator[Verdict]:
    groups: dict[tuple[str, str, str], list[float]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.group, []).append(candidate.percent)
    for (arch, dataset, structure), percents in groups.items():
        where = f"{arch}, {dataset}, {structure}"
        if len(set(percents)) < len(percents):
            yield Verdict("three sparsities", "problem", f"{where} has two runs of one sparsity: choose one of them")
        wanted = SPARSITIES.get(structure, ()) if candidates[0].board == "benchmark" else ()
        missing = [percent for percent in wanted if percent not in percents]
        have = ", ".join(f"{percent:g}" for percent in sorted(percents))
        if missing or len(set(percents)) < 3:
            lacks = f"it lacks {', '.join(map(str, missing))}" if missing else "there must be three at least"
            yield Verdict("three sparsities", "problem", f"{where} has {have} %: {lacks}")
        else:
            yield Verdict("three sparsities", "ok", f"{where} has {have} %")
    if candidates[0].board == "benchmark" and len(candidates) < SUITE:
        text = (
            f"{len(candidates)} of the {SUITE} of a suite: {' and '.join(_BENCHMARK_NETWORKS)} on "
            f"{' and '.join(DATASETS.values())}, three sparsities each; the whole suite is welcome"
        )
        yield Verdict("suite", "advice", text)


def _threat(document: Mapping[str, Any]) -> str:
    return f"{document['threat']['norm']} {document['threat']['eps']:.6g}"


def _one(candidates: Sequence[Candidate], rule: str, of: Any, fix: str) -> Verdict:
    """Judge whether the evaluations agree in something; of different data sets the threat may differ."""
    found: dict[str, set[str]] = {}
    for candidate in candidates:
        if candidate.evaluation is not None:
            found.setdefault(candidate.dataset, set()).add(of(candidate.evaluation))
    if torn := [sorted(values) for values in found.values() if len(values) > 1]:
        return Verdict(rule, "problem", f"the evaluations are of {' and '.join(torn[0])}: {fix}")
    said = ", ".join(sorted({value for values in found.values() for value in values})) or "nothing was evaluated"
    return Verdict(rule, "ok" if found else "problem", said)


def _of_settings(candidates: Sequence[Candidate]) -> Iterator[Verdict]:
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.group, []).append(candidate.run.record["settings"])
    for (arch, dataset, structure), settings in groups.items():
        odd = sorted({key for one in settings for key in one if one.get(key) != settings[0].get(key)} - {"sparsity"})
        if odd:
            text = f"the runs of {arch}, {dataset}, {structure} differ in {', '.join(odd)}: say why in the issue"
            yield Verdict("same settings", "advice", text)


def _of_the_run(candidate: Candidate) -> Iterator[Verdict]:
    where = str(candidate.run.path)
    yield _evaluated(candidate, where)
    yield _selected(candidate, where)
    yield from _network(candidate, where)
    if candidate.measured is None:
        text = f"{where} has no distances to the boundary: apx evaluate {where} --protocol curve measures them"
        yield Verdict("distances", "advice", text)


def _evaluated(candidate: Candidate, where: str) -> Verdict:
    document = candidate.evaluation
    fix = f"run apx evaluate {where} --protocol standard"
    if document is None:
        return Verdict("evaluation", "problem", f"{where} was not attacked by AutoAttack: {fix}")
    partial = [one for one in document["warnings"] if one["name"] == "partial"]
    enough = document["n"] >= IMAGES if candidate.board == "benchmark" else not partial
    whole = f"its first {IMAGES:,} images" if candidate.board == "benchmark" else "the whole test split"
    if not enough:
        return Verdict(
            "evaluation", "problem", f"{where} was attacked on {document['n']:,} images, not on {whole}: {fix}"
        )
    doubts = [one["text"] for one in document["warnings"] if one["name"] != "partial"]
    if doubts:
        return Verdict("evaluation", "advice", f"{where}: {'; '.join(doubts)}")
    return Verdict("evaluation", "ok", f"{where}: AutoAttack on {document['n']:,} images, {_threat(document)}")


def _selected(candidate: Candidate, where: str) -> Verdict:
    chosen = {candidate.report["selected_on"], (candidate.evaluation or {}).get("selected_on", "none")}
    if "test" in chosen:
        return Verdict("selection", "problem", f"{where} was selected on the test split: train it again without")
    return Verdict("selection", "ok", f"{where} was selected on {candidate.report['selected_on']}")


def _network(candidate: Candidate, where: str) -> Iterator[Verdict]:
    try:
        opened = candidate.opened
    except UserError as error:
        yield Verdict("network", "problem", f"{where}: {error}")
        return
    yield _base(candidate, where)
    from ..architectures.normalisation import normalisation_of
    from ..masks import reported_sparsity

    statistics = normalisation_of(opened.module)
    said = (
        "takes images as they are"
        if statistics is None
        else f"normalises inside, mean {statistics.mean}, std {statistics.std}"
    )
    yield Verdict("normalisation", "ok", f"{where} {said}")
    counted, told = reported_sparsity(opened.module), float(candidate.report["sparsity"]["reported"])
    if abs(counted - told) > _NEAR:
        text = f"{where} says {told:.4%} of its weights are zero, its file has {counted:.4%}: make the run again"
        yield Verdict("sparsity", "problem", text)
    else:
        yield Verdict("sparsity", "ok", f"{where}: {counted:.2%} of all weights are zero")


def _base(candidate: Candidate, where: str) -> Verdict:
    width = candidate.run.request.get("width")
    if candidate.board == "lab":
        narrow = f" of width {width}" if width is not None else ""
        return Verdict("network", "ok", f"{where} loads strictly into {candidate.arch}{narrow}")
    try:
        from ..zoo.model import check_network

        remarks = check_network(candidate.key, candidate.arch, candidate.opened.module, where)
    except UserError as error:
        return Verdict("network", "problem", str(error))
    if width is not None:
        return Verdict(
            "network", "problem", f"{where} has width {width}: the board lists {candidate.arch} as papers use it"
        )
    return Verdict("network", "ok", "; ".join([f"{where} loads strictly into {candidate.arch}", *remarks]))
