"""A bundle: a folder with everything that a result is, and the sums that hold it together."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..architectures.normalisation import normalisation_of
from ..card import card
from ..errors import UserError
from ..export import export_state
from ..zoo import publish
from ..zoo.content import sha256_of
from .candidate import Candidate
from .checks import Verdict, check, problems
from .issue import issue_text

MANIFEST, ENTRY, ISSUE, SUMS = "submission.json", "entry.json", "ISSUE.md", "SHA256SUMS"


def make_bundle(candidates: Sequence[Candidate], folder: Path, *, replace: bool = False) -> list[Verdict]:
    """Write the bundle of runs that pass `check`, whole or not at all; return what was advised.

    It holds `submission.json` (schema `submission`), `entry.json`, `ISSUE.md` (the text of the issue), `results/`,
    `distances/` where they were measured, `models/` (safetensors with a model card each; a zoo for `--zoo` where the
    board has keys) and `SHA256SUMS`, which `sha256sum -c` checks.

    Args:
        candidates: runs of one method, as `open_candidates` returns them.
        folder: what to make.
        replace: take the place of what is there.

    Raises:
        UserError: a rule is broken, the folder exists, or it cannot be written.
    """
    verdicts = check(candidates)
    if broken := problems(verdicts):
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise UserError(f"these runs cannot be submitted: {broken[0].text}{more}; see `apx submit check`")
    if folder.exists() and not replace:
        raise UserError(f"{folder} exists: choose another --out, or replace it with --force")
    if not folder.parent.is_dir():
        raise UserError(f"there is no folder {folder.parent} for {folder.name}: make it, or choose another --out")
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _fill(made, candidates, verdicts)
        made.chmod(0o755)  # mkdtemp makes it private
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return [one for one in verdicts if one.state == "advice"]


def _fill(folder: Path, candidates: Sequence[Candidate], verdicts: Sequence[Verdict]) -> None:
    for name in ("models", "results", "distances"):
        (folder / name).mkdir()
    first = candidates[0]
    _write(folder / ENTRY, first.entry.document)
    manifest = {
        "schema_version": "1",
        "board": first.board,
        "method": first.entry.slug,
        "key": first.entry.key,
        "name": first.entry.name,
        "entry": ENTRY,
        "models": [_model(folder, candidate) for candidate in candidates],
        "remarks": [one.text for one in verdicts if one.state == "advice" and one.rule == "same settings"],
    }
    _write(folder / MANIFEST, manifest)
    (folder / ISSUE).write_text(issue_text(manifest, first.entry.document), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(sums))


def _model(folder: Path, candidate: Candidate) -> dict[str, Any]:
    document = candidate.evaluation
    assert document is not None  # what `check` saw to
    name, opened = candidate.name, candidate.opened
    measured = candidate.measured
    _write(folder / "results" / f"{name}.json", {**document, "target": name})
    if measured is not None:
        _write(folder / "distances" / f"{name}.json", _distances(measured))
    weights = folder / "models" / f"{name}.safetensors"
    if candidate.board == "benchmark":
        publish(folder / "models", candidate.key, opened.module, candidate.arch)
    else:
        export_state(weights, opened.module, metadata=opened.metadata())
    weights.with_name(f"{weights.name}.md").write_text(card(weights, opened, "safetensors"), encoding="utf-8")
    statistics = normalisation_of(opened.module)
    return {
        "name": name,
        "arch": candidate.arch,
        "width": candidate.run.request.get("width"),
        "dataset": candidate.dataset,
        "structure": candidate.structure,
        "sparsity": candidate.percent,
        "unit": candidate.report["sparsity"]["unit"],
        "own": candidate.report["sparsity"]["own"],
        "reported": candidate.report["sparsity"]["reported"],
        "normalisation": None if statistics is None else {"mean": [*statistics.mean], "std": [*statistics.std]},
        "selected_on": candidate.report["selected_on"],
        "seed": candidate.run.request.get("seed"),
        "preset": candidate.run.request.get("preset"),
        "weights": f"models/{name}.safetensors",
        "results": f"results/{name}.json",
        "distances": None if measured is None else f"distances/{name}.json",
        "clean_accuracy": document["clean_accuracy"],
        "robust_accuracy": document["robust_accuracy"],
        "minimum_norm_accuracy": None if measured is None else _robust_by_distance(measured),
    }


def _distances(document: Mapping[str, Any]) -> dict[str, Any]:
    samples = [one for one in document["samples"] if one["distance"] is not None]
    return {
        "norm": document["threat"]["norm"],
        "attack": document["attacks"][-1],
        "indices": [one["index"] for one in samples],
        "distances": [one["distance"] for one in samples],
    }


def _robust_by_distance(document: Mapping[str, Any]) -> float:
    """Return the share of samples that lie further from the boundary than eps; misclassified ones lie at 0."""
    distances = [float(one["distance"]) for one in document["samples"] if one["distance"] is not None]
    return sum(one > document["threat"]["eps"] for one in distances) / len(distances)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
