"""Verifying a stranger's bundle: sums, schemas, numbers against samples, weights against claims, a sample again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from apx_taxonomy import validate

from ..errors import UserError
from ..evaluation.stored import read_document
from ..zoo.content import sha256_of
from .bundle import ENTRY, MANIFEST, SUMS
from .candidate import attacked_by_autoattack

if TYPE_CHECKING:
    from ..target import Opened

TOLERATED = 100
"""One sample in so many may come out otherwise on another machine."""


@dataclass(frozen=True)
class Verified:
    """One model of a bundle, after everything agreed.

    Attributes:
        model: what the manifest says of it.
        document: its results document.
        again: how many samples were evaluated again.
        predictions: of these, how many were predicted otherwise.
        broken: of these, how many were recorded as robust, and were broken.
    """

    model: Mapping[str, Any]
    document: Mapping[str, Any]
    again: int
    predictions: int
    broken: int


def verify(
    folder: Path, *, n: int = 64, attack: str = "pgd", seed: int = 0, device: str | None = None,
    data_dir: str | None = None,
) -> tuple[Mapping[str, Any], list[Verified]]:  # fmt: skip
    """Return a bundle's manifest and its models, each verified; nothing in it is executed or unpickled.

    Args:
        folder: the bundle.
        n: samples of each model that are predicted and attacked again, drawn by `seed`.
        attack: with what; a sample recorded as robust must not fall to it (one in 100 may, on another machine).
        seed: of the draw and the attack.
        device: where to run; the CPU where None.
        data_dir: where the data sets are.

    Raises:
        UserError: the first thing that does not agree, with the file.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is no bundle: it has no {MANIFEST}; `apx submit make` makes one")
    _check_sums(folder)
    manifest = _read(folder / MANIFEST, "submission")
    entry = _read(folder / ENTRY, "entry")
    if (entry["slug"], entry["key"], entry["name"]) != (manifest["method"], manifest["key"], manifest["name"]):
        raise UserError(f"{folder / ENTRY} is the entry of {entry['slug']}, the bundle is of {manifest['method']}")
    draws = {"n": n, "attack": attack, "seed": seed, "device": device, "data_dir": data_dir}
    return manifest, [_model(folder, manifest, model, draws) for model in manifest["models"]]


def _check_sums(folder: Path) -> None:
    sums: dict[str, str] = {}
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / SUMS} cannot be read ({error}): make the bundle again") from error
    for line in lines:
        digest, _, name = line.partition("  ")
        sums[name] = digest
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()}
    if strange := sorted(there - sums.keys() - {SUMS}):
        raise UserError(f"{folder} holds {strange[0]}, which {SUMS} does not name: make the bundle again")
    for name, digest in sums.items():
        path = folder / name
        if ".." in PurePosixPath(name).parts or path.is_symlink() or not path.is_file():
            raise UserError(f"{SUMS} names {name}, which is no file of {folder}: make the bundle again")
        if sha256_of(path) != digest:
            raise UserError(f"{path} is not what {SUMS} says: it was changed; make the bundle again")


def _read(path: Path, schema: str) -> Any:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): make the bundle again") from error
    if faults := validate(document, schema):
        raise UserError(f"{path} is not valid ({faults[0]}): make the bundle again")
    return document


def _model(folder: Path, manifest: Mapping[str, Any], model: Mapping[str, Any], draws: Mapping[str, Any]) -> Verified:
    document = read_document(folder / model["results"])
    _check_document(folder / model["results"], manifest, model, document)
    opened = _opened(folder / model["weights"], model, draws["data_dir"])
    _check_sparsity(folder / model["weights"], model, opened)
    return _again(folder / model["results"], model, document, opened, draws)


def _check_document(
    path: Path, manifest: Mapping[str, Any], model: Mapping[str, Any], document: Mapping[str, Any]
) -> None:
    """Hold the numbers against the samples that they are said to be of."""
    samples = document["samples"]
    claims = {
        "method": (document["method"], manifest["method"]),
        "architecture": (document["arch"], model["arch"]),
        "data set": (document["dataset"], model["dataset"]),
        "split": (document["split"], "test"),
        "number of samples": (len(samples), document["n"]),
        "clean accuracy": (model["clean_accuracy"], document["clean_accuracy"]),
        "robust accuracy": (model["robust_accuracy"], document["robust_accuracy"]),
    }
    for what, (found, told) in claims.items():
        if found != told:
            raise UserError(f"{path}: its {what} is {found}, the bundle says {told}")
    if not attacked_by_autoattack(document):
        raise UserError(f"{path} was not measured by AutoAttack: evaluate by the protocol standard")
    if "test" in (document["selected_on"], model["selected_on"]):
        raise UserError(f"{path}: the checkpoint was selected on the test split")
    counted = {
        "clean_accuracy": sum(one["prediction"] == one["label"] for one in samples),
        "robust_accuracy": sum(one["robust"] for one in samples),
    }
    for name, count in counted.items():
        if abs(document[name]["value"] - count / len(samples)) > 1e-9:
            told = document[name]["value"]
            raise UserError(
                f"{path}: its {name.replace('_', ' ')} is {told:.4%}, its samples give {count / len(samples):.4%}"
            )


def _opened(path: Path, model: Mapping[str, Any], data_dir: str | None) -> Opened:
    from ..target import Made, open_target

    if path.suffix != ".safetensors":
        raise UserError(f"{path} is no safetensors file: a bundle's weights are")
    made = Made(arch=model["arch"], dataset=model["dataset"], width=model["width"], data_dir=data_dir)
    return open_target(path, made)


def _check_sparsity(path: Path, model: Mapping[str, Any], opened: Opened) -> None:
    from ..masks import reported_sparsity

    counted = reported_sparsity(opened.module)
    if abs(counted - model["reported"]) > 1e-6:
        raise UserError(f"{path} has {counted:.4%} zeros, the bundle says {model['reported']:.4%}")


def _again(
    path: Path, model: Mapping[str, Any], document: Mapping[str, Any], opened: Opened, draws: Mapping[str, Any]
) -> Verified:
    """Predict and attack a few of the recorded samples again."""
    import torch

    from ..datasets import Split
    from ..evaluation import evaluate

    generator = torch.Generator().manual_seed(draws["seed"])
    count = min(draws["n"], len(document["samples"]))
    chosen = [
        document["samples"][place] for place in torch.randperm(document["n"], generator=generator)[:count].tolist()
    ]
    indices = torch.tensor([one["index"] for one in chosen])
    if int(indices.max()) >= len(opened.data.test):
        raise UserError(f"{path} has sample {int(indices.max())}, {opened.data.name} has {len(opened.data.test):,}")
    split = Split(opened.data.test.images[indices], opened.data.test.labels[indices])
    if split.labels.tolist() != [one["label"] for one in chosen]:
        raise UserError(f"{path} has other labels than the test split of {opened.data.name}: it is of other data")
    threat = document["threat"]
    found = evaluate(
        opened.module, split, attack=draws["attack"], eps=threat["eps"], norm=threat["norm"], seed=draws["seed"],
        device=draws["device"],
    )["samples"]  # fmt: skip
    otherwise = _count(a["prediction"] != b["prediction"] for a, b in zip(found, chosen, strict=True))
    broken = _count(b["robust"] and not a["robust"] for a, b in zip(found, chosen, strict=True))
    allowed = -(-count // TOLERATED)
    if otherwise > allowed:
        raise UserError(f"{path}: {otherwise} of {count} samples are predicted otherwise: these are not its weights")
    if broken > allowed:
        raise UserError(
            f"{path}: {broken} of {count} samples are recorded as robust, and {draws['attack']} breaks them"
        )
    return Verified(model, document, count, otherwise, broken)


def _count(values: Iterable[bool]) -> int:
    return sum(map(bool, values))
