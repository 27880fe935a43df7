"""Validation of entries, with its verdicts remembered on disk so that listing stays fast.

A verdict is filed under the SHA-256 of the entry and of the schema, so that a change of either makes a new one.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import apx_taxonomy

from .cache_file import CacheFile
from .failure import other_api

Fault = tuple[str, str]  # JSON pointer, message with the allowed values
_SCHEMA = "entry"
_LIMIT = 1000


class Verdicts:
    """The remembered verdicts: read once, asked for each entry, saved at the end if any is new."""

    def __init__(self) -> None:
        self._cache = CacheFile("verdicts.json", _LIMIT)

    def of(self, content: bytes, document: object) -> list[Fault]:
        """Return the faults of an entry, given as bytes and as parsed; none where it is valid."""
        import hashlib  # here, since a listing that finds nothing changed needs no verdicts

        digest = hashlib.sha256(self._schema_digest.encode() + content).hexdigest()
        faults = _faults_from(self._cache.recall(digest))
        if faults is None:
            faults = _other_version(document) or _faults(document)
            self._cache.remember(digest, faults)
        return faults

    def save(self) -> None:
        """Write the new verdicts."""
        self._cache.save()

    @cached_property
    def _schema_digest(self) -> str:
        return apx_taxonomy.schema_digest(_SCHEMA)


def _faults(document: object) -> list[Fault]:
    return [(problem.pointer, _sentence(problem)) for problem in apx_taxonomy.validate(document, _SCHEMA)]


def _other_version(document: object) -> list[Fault]:
    """Return the one fault of an entry for another version: what else this version dislikes about it means nothing."""
    spoken = apx_taxonomy.schema(_SCHEMA)["properties"]["api"]["const"]
    written = document.get("api") if isinstance(document, dict) else None
    if not isinstance(written, str) or written == spoken:
        return []
    return [("/api", other_api(written, spoken))]


def _sentence(problem: apx_taxonomy.Problem) -> str:
    allowed = ", ".join(json.dumps(value, ensure_ascii=False) for value in problem.allowed)
    return f"{problem.message}; allowed: {allowed}" if allowed else problem.message


def _faults_from(remembered: Any) -> list[Fault] | None:
    """Return remembered faults, None where there are none or they are not what this module writes."""
    try:
        return [(str(at), str(why)) for at, why in remembered]
    except (TypeError, ValueError):
        return None
