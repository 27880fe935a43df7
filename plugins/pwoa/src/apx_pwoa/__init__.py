"""PwoA as an apx plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apx import hookimpl

if TYPE_CHECKING:
    from apx import Method, Objective


@hookimpl
def apx_methods() -> list[type[Method]]:
    """Offer the method to apx."""
    from .method import PwoA

    return [PwoA]


@hookimpl
def apx_objectives() -> dict[str, type[Objective]]:
    """Offer distillation with the HSIC bottleneck."""
    from .objective import BottleneckDistillation

    return {BottleneckDistillation.name: BottleneckDistillation}
