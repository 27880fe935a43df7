"""HARP as an apx plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apx import hookimpl

if TYPE_CHECKING:
    from apx import Method


@hookimpl
def apx_methods() -> list[type[Method]]:
    """Offer the method to apx."""
    from .method import Harp

    return [Harp]
