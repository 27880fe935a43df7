"""The results document of one evaluation; its schema is `results` of apx_taxonomy."""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypedDict

import torch

from .attempt import Attempt
from .interval import wilson
from .threat import Threat


class Target(TypedDict, total=False):
    """What the caller knows about the evaluated model and that the document repeats; `source` of a transfer attack."""

    target: str
    method: str | None
    arch: str | None
    dataset: str
    source: str
    split: Literal["train", "val", "test"]
    selected_on: Literal["val", "test", "none"] | None
    sparsity: Mapping[str, Any]


@dataclass(frozen=True)
class Circumstances:
    """How an evaluation was made, beside its attempt."""

    protocol: str
    threat: Threat
    precision: str
    prepared: Sequence[str] | None
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the document that not every evaluation has: `source`, `sanity`, `minimum_norm`."""


def build(
    attempt: Attempt,
    how: Circumstances,
    target: Target | Mapping[str, Any],
    *,
    default_name: str,
    seconds: float,
) -> dict[str, Any]:
    """Return the document of a finished attempt; JSON types only."""
    outcome, n = attempt.outcome, len(attempt.samples)
    attacked = any(attack["name"] != "clean" for attack in outcome.attacks)
    document: dict[str, Any] = {
        "schema_version": "1",
        "target": target.get("target", default_name),
        "method": target.get("method"),
        "arch": target.get("arch"),
        "dataset": target.get("dataset", "custom"),
        "split": target.get("split", "test"),
        "threat": {"norm": how.threat.norm, "eps": how.threat.eps},
        "protocol": how.protocol,
        "attacks": _attacks(attempt) if attacked else [],
        "n": n,
        "clean_accuracy": accuracy(int(outcome.correct.sum()), n),
        "robust_accuracy": accuracy(int(outcome.robust.sum()), n) if attacked else None,
        "seed": attempt.setting.seed,
        "versions": {**versions(), **outcome.providers},
        "device": device_name(attempt.device),
        "threads": torch.get_num_threads(),
        "batch_size": attempt.batch_size,
        "precision": how.precision,
        "prepared": None if how.prepared is None else list(how.prepared),
        "selected_on": target.get("selected_on"),
        "warnings": outcome.warnings.records(),
        "samples": _samples(attempt),
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    document |= how.parts
    if "sparsity" in target:
        document["sparsity"] = dict(target["sparsity"])
    return document


def accuracy(count: int, n: int) -> dict[str, Any]:
    """Return a fraction with its 95 % Wilson interval."""
    low, high = wilson(count, n)
    return {"value": count / n, "low": low, "high": high, "interval": "wilson"}


def _attacks(attempt: Attempt) -> list[dict[str, Any]]:
    """Only an attack that meets every correct sample has an accuracy of its own: the first, and a minimum-norm one."""
    outcome, n = attempt.outcome, len(attempt.samples)
    attacks = [dict(attack) for attack in outcome.attacks]
    broken = outcome.broken_by.count(attacks[0]["name"])
    attacks[0]["robust_accuracy"] = accuracy(int(outcome.correct.sum()) - broken, n)
    if outcome.measured:
        beyond = outcome.distances > attempt.setting.threat.eps
        attacks[-1]["robust_accuracy"] = accuracy(int(beyond.sum()), n)
    return attacks


def _samples(attempt: Attempt) -> list[dict[str, Any]]:
    samples, outcome = attempt.samples, attempt.outcome
    columns = zip(
        samples.indices.tolist(),
        samples.labels.tolist(),
        outcome.predictions.tolist(),
        outcome.robust.tolist(),
        outcome.broken_by,
        [_distance(value) for value in outcome.distances.tolist()],
        strict=True,
    )
    keys = ("index", "label", "prediction", "robust", "broken_by", "distance")
    return [dict(zip(keys, column, strict=True)) for column in columns]


def _distance(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return "inf" if math.isinf(value) else value


def versions() -> dict[str, str]:
    """Return the versions of what computes the result."""
    found = {"python": platform.python_version()}
    for name in ("apx-core", "torch", "pyautoattack"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "unknown"
    return found


def device_name(device: torch.device) -> str:
    """Return what the document calls the device."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
