"""What keeps a result from being compared with the published tables, in short phrases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .row import Row

_NETWORKS = ("resnet18", "vgg16")
_DATA = ("cifar10", "svhn")
_EPS = 0.031
_IMAGES = 10_000
_OFF = 0.5
"""Percentage points between the sparsity asked for and the measured one that are no rounding of a layer's counts."""


def marked(row: Row, request: Mapping[str, Any] | None = None) -> Row:
    """Return a local row with what differs, and never in bold: bold belongs to the published tables.

    Args:
        row: from a run or a file.
        request: what the run was asked, where it is one.
    """
    return replace(row, bold=False, differs=(*_of_evaluation(row), *_of_network(row), *_of_request(request or {})))


def _of_evaluation(row: Row) -> list[str]:
    found = []
    if row.dataset not in _DATA:
        found.append(f"data {row.dataset}")
    if row.n != _IMAGES:
        found.append("n unknown" if row.n is None else f"n {row.n:,}")
    if row.attack != "AutoAttack":
        found.append(f"attack {row.attack}")
    if row.norm != "Linf":
        found.append(f"norm {row.norm}")
    if abs(row.eps - _EPS) > 1e-9:
        found.append(f"eps {row.eps:.4g}")
    if row.selected_on is None:
        found.append("selected on an unknown split")
    elif row.selected_on == "test":
        found.append("selected on test")
    return found


def _of_network(row: Row) -> list[str]:
    found = [] if row.arch in _NETWORKS else [f"network {row.arch}"]
    if row.unit not in ("weights", None):
        found.append(f"sparsity of {row.unit}, not weights")
    measured = row.reported if row.own is None and row.unit == "weights" else row.own
    if measured is not None and abs(measured - row.sparsity) > _OFF:
        found.append(f"sparsity {measured:.4g} in place of {row.sparsity:g}")
    return found


def _of_request(request: Mapping[str, Any]) -> list[str]:
    found = []
    if request.get("width") is not None:
        found.append(f"width {request['width']}")
    if request and request.get("preset") != "paper":
        found.append(f"preset {request.get('preset')}")
    if request.get("epochs_scale", 1.0) != 1.0:
        found.append(f"epochs x{request['epochs_scale']:g}")
    if request.get("set"):
        found.append("settings of its own")
    return found
