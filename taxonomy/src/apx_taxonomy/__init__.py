"""The vocabulary, schemas and published tables of adversarial pruning.

Importing this package costs nothing: every public name is loaded on first use, jsonschema only when
something is validated, and torch never.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than the rest of this module
if TYPE_CHECKING:
    from .files import schema_file
    from .model_key import ModelKey, ModelKeyError
    from .published import leaderboard, leaderboard_names
    from .validation import Problem, schema, schema_digest, schema_names, validate
    from .vocabulary import AXES, Axis, UnknownWordError, Word, axis, resolve, survey_label
    from .zoo_index import (
        RemoteFile,
        SurveyMethod,
        ZooEntry,
        canonical_key,
        read_key,
        select_zoo,
        survey_method,
        survey_methods,
        zoo_entries,
        zoo_entry,
    )

_HOME = {
    "AXES": "vocabulary",
    "Axis": "vocabulary",
    "ModelKey": "model_key",
    "ModelKeyError": "model_key",
    "Problem": "validation",
    "RemoteFile": "zoo_index",
    "SurveyMethod": "zoo_index",
    "UnknownWordError": "vocabulary",
    "Word": "vocabulary",
    "ZooEntry": "zoo_index",
    "axis": "vocabulary",
    "canonical_key": "zoo_index",
    "leaderboard": "published",
    "leaderboard_names": "published",
    "read_key": "zoo_index",
    "resolve": "vocabulary",
    "schema": "validation",
    "schema_digest": "validation",
    "schema_file": "files",
    "schema_names": "validation",
    "select_zoo": "zoo_index",
    "survey_label": "vocabulary",
    "survey_method": "zoo_index",
    "survey_methods": "zoo_index",
    "validate": "validation",
    "zoo_entries": "zoo_index",
    "zoo_entry": "zoo_index",
}

__all__ = [
    "AXES",
    "Axis",
    "ModelKey",
    "ModelKeyError",
    "Problem",
    "RemoteFile",
    "SurveyMethod",
    "UnknownWordError",
    "Word",
    "ZooEntry",
    "axis",
    "canonical_key",
    "leaderboard",
    "leaderboard_names",
    "read_key",
    "resolve",
    "schema",
    "schema_digest",
    "schema_file",
    "schema_names",
    "select_zoo",
    "survey_label",
    "survey_method",
    "survey_methods",
    "validate",
    "zoo_entries",
    "zoo_entry",
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
