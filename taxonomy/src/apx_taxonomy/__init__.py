"""The vocabulary, schemas and published tables of adversarial pruning.

Importing this package costs nothing: every public name is loaded on first use, jsonschema only when
something is validated, and torch never.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than the rest of this module
if TYPE_CHECKING:
    from .published import leaderboard, leaderboard_names
    from .validation import Problem, schema, schema_digest, schema_names, validate
    from .vocabulary import AXES, Axis, UnknownWordError, Word, axis, resolve, survey_label

_HOME = {
    "AXES": "vocabulary",
    "Axis": "vocabulary",
    "Problem": "validation",
    "UnknownWordError": "vocabulary",
    "Word": "vocabulary",
    "axis": "vocabulary",
    "leaderboard": "published",
    "leaderboard_names": "published",
    "resolve": "vocabulary",
    "schema": "validation",
    "schema_digest": "validation",
    "schema_names": "validation",
    "survey_label": "vocabulary",
    "validate": "validation",
}

__all__ = [
    "AXES",
    "Axis",
    "Problem",
    "UnknownWordError",
    "Word",
    "axis",
    "leaderboard",
    "leaderboard_names",
    "resolve",
    "schema",
    "schema_digest",
    "schema_names",
    "survey_label",
    "validate",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
