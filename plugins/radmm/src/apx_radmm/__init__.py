"""RADMM as an apx plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apx import hookimpl

if TYPE_CHECKING:
    from apx import Method, Objective


@hookimpl
def apx_methods() -> list[type[Method]]:
    """Offer the method to apx."""
    from .method import Radmm

    return [Radmm]


@hookimpl
def apx_objectives() -> dict[str, type[Objective]]:
    """Offer PGD training whose first epochs make do with one short step."""
    from .objective import WarmedUpPGD

    return {WarmedUpPGD.name: WarmedUpPGD}
