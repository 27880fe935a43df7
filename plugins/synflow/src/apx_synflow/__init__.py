"""SynFlow as an apx plugin: the method, and its score for any other method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apx import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from apx import Method
    from apx.specifics import Criterion


@hookimpl
def apx_methods() -> list[type[Method]]:
    """Offer the method to apx."""
    # not at the top: listing and loading a plugin load no torch
    from .method import Synflow

    return [Synflow]


@hookimpl
def apx_criteria() -> Mapping[str, type[Criterion]]:
    """Offer the score alone: `masks_by("synaptic-flow", model, run)` in any method."""
    from .flow import SynapticFlow

    return {"synaptic-flow": SynapticFlow}
