"""The results document of one evaluation; its schema is `results` of apx_taxonomy."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypedDict

import torch

from .interval import wilson
from .outcome import Attempt


class Target(TypedDict, total=False):
    """What the caller knows about the evaluated model and that the document repeats."""

    target: str
    method: str | None
    arch: str | None
    dataset: str
    split: Literal["train", "val", "test"]
    selected_on: Literal["val", "test", "none"] | None
    sparsity: Mapping[str, Any]


def build(attempt: Attempt, target: Target | Mapping[str, Any], *, default_name: str, seconds: float) -> dict[str, Any]:
    """Return the document of a finished attempt; JSON types only."""
    outcome, n = attempt.outcome, len(attempt.samples)
    attacked = bool(outcome.attacks)
    document: dict[str, Any] = {
        "schema_version": "1",
        "target": target.get("target", default_name),
        "method": target.get("method"),
        "arch": target.get("arch"),
        "dataset": target.get("dataset", "custom"),
        "split": target.get("split", "test"),
        "threat": {"norm": "Linf", "eps": attempt.eps},
        "protocol": "apx",
        "attacks": _attacks(attempt),
        "n": n,
        "clean_accuracy": accuracy(int(outcome.correct.sum()), n),
        "robust_accuracy": accuracy(int(outcome.robust.sum()), n) if attacked else None,
        "seed": attempt.seed,
        "versions": {**_versions(), **outcome.providers},
        "device": _device_name(attempt.device),
        "threads": torch.get_num_threads(),
        "batch_size": attempt.batch_size,
        "selected_on": target.get("selected_on"),
        "warnings": outcome.warnings,
        "samples": _samples(attempt),
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if "sparsity" in target:
        document["sparsity"] = dict(target["sparsity"])
    return document


def accuracy(count: int, n: int) -> dict[str, Any]:
    """Return a fraction with its 95 % Wilson interval."""
    low, high = wilson(count, n)
    return {"value": count / n, "low": low, "high": high, "interval": "wilson"}


def _attacks(attempt: Attempt) -> list[dict[str, Any]]:
    """Only the first attack meets every correct sample, so only it has an accuracy of its own."""
    outcome, n = attempt.outcome, len(attempt.samples)
    attacks = [dict(attack) for attack in outcome.attacks]
    if attacks:
        broken = outcome.broken_by.count(attacks[0]["name"])
        attacks[0]["robust_accuracy"] = accuracy(int(outcome.correct.sum()) - broken, n)
    return attacks


def _samples(attempt: Attempt) -> list[dict[str, Any]]:
    samples, outcome = attempt.samples, attempt.outcome
    columns = zip(
        samples.indices.tolist(),
        samples.labels.tolist(),
        outcome.predictions.tolist(),
        outcome.robust.tolist(),
        outcome.broken_by,
        strict=True,
    )
    keys = ("index", "label", "prediction", "robust", "broken_by")
    return [{**dict(zip(keys, column, strict=True)), "distance": None} for column in columns]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("apx-core", "torch", "pyautoattack"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            versions[name] = "unknown"
    return versions


def _device_name(device: torch.device) -> str:
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
