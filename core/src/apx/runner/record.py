"""What run.json says: the request, every resolved choice, and what the result depends on."""

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

from .request import Resolved


def run_record(resolved: Resolved) -> dict[str, Any]:
    """Return the contents of run.json."""
    return {
        "apx_run": 1,
        "request": resolved.request.document(),
        "method": resolved.request.method,
        "variant": {name: getattr(resolved.variant, name) for name in ("structure", "granularity", "schedule")}
        | {"locality": resolved.variant.locality, "budget": resolved.variant.budget}
        | {"sparsity_unit": resolved.variant.sparsity_unit, "basis": resolved.variant.basis},
        "settings": resolved.settings.model_dump(),
        "device": resolved.device,
        "precision": resolved.precision,
        "threads": torch.get_num_threads(),
        "versions": versions(resolved.request.method),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions(method: str) -> dict[str, str]:
    """Return the versions that a result depends on."""
    from ..registry import entry as find_entry

    found = find_entry(method)
    names = ("apx-core", "apx-taxonomy", "torch", "numpy", "timm", "pyautoattack")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
        found.distribution: found.version,
    }
