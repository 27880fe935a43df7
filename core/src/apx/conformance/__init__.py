"""Conformance: whether a method does what its entry claims, seen by core's own recorder on tiny networks.

Importing this package does not import torch; its names do, at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import check, implemented_variants
    from .networks import NETWORKS
    from .recorder import Observation, Recorder
    from .report import Case, Report
    from .verdict import Verdict

__all__ = ["NETWORKS", "Case", "Observation", "Recorder", "Report", "Verdict", "check", "implemented_variants"]

_HOMES = {
    "NETWORKS": "networks",
    "Case": "report",
    "Observation": "recorder",
    "Recorder": "recorder",
    "Report": "report",
    "Verdict": "verdict",
    "check": "checking",
    "implemented_variants": "checking",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
