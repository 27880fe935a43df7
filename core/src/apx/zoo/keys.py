"""Model keys as users type them: read, recognised, and tied to a method."""

from __future__ import annotations

from apx_taxonomy import zoo_index
from apx_taxonomy.model_key import ModelKey, ModelKeyError
from apx_taxonomy.zoo_index import ZooEntry, canonical_key, survey_method

from ..errors import UserError

_PIECES = 6


def read_key(key: ModelKey | str) -> ModelKey:
    """Return a key with its method spelt as in the taxonomy; a misspelling that the benchmark uses is put right.

    Raises:
        UserError: `key` is none; the sentence names the wrong piece and what is allowed.
    """
    if isinstance(key, ModelKey):
        return canonical_key(key)
    try:
        return zoo_index.read_key(key)
    except ModelKeyError as error:
        raise UserError(str(error)) from None


def benchmark_entry(key: ModelKey | str) -> ZooEntry:
    """Return what the benchmark offers for a key.

    Raises:
        UserError: it is no key, or the benchmark does not have it.
    """
    try:
        return zoo_index.zoo_entry(key)
    except ModelKeyError as error:
        raise UserError(str(error)) from None


def looks_like_key(text: str) -> bool:
    """Say whether a text is meant as a model key, perhaps with a wrong piece, rather than as a file's name."""
    pieces = text.split("_")
    return abs(len(pieces) - _PIECES) <= 1 and not any(mark in text for mark in "/\\.:- ") and all(pieces[:2])


def method_of(key: ModelKey) -> str:
    """Return the slug of a key's method; of one that the survey does not have, its key in the taxonomy."""
    known = survey_method(key.ap_key)
    return key.ap_key if known is None else known.slug
