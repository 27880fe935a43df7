"""Validation of entries, with its verdicts remembered on disk so that listing stays fast.

A verdict is filed under the SHA-256 of the entry and of the schema, so that a change of either makes a new one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import apx_taxonomy

from .. import paths
from .failure import other_api

Fault = tuple[str, str]  # JSON pointer, message with the allowed values
_SCHEMA = "entry"
_LIMIT = 1000  # verdicts kept; the oldest go first


class Verdicts:
    """The remembered verdicts: read once, asked for each entry, saved at the end if any is new."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file if file is not None else paths.home() / "verdicts.json"
        self._known = _read(self._file)
        self._schema_digest = apx_taxonomy.schema_digest(_SCHEMA)
        self._changed = False

    def of(self, content: bytes, document: object) -> list[Fault]:
        """Return the faults of an entry, given as bytes and as parsed; none where it is valid."""
        digest = hashlib.sha256(self._schema_digest.encode() + content).hexdigest()
        if digest not in self._known:
            self._known[digest] = _other_version(document) or _faults(document)
            self._changed = True
        return self._known[digest]

    def save(self) -> None:
        """Write the new verdicts. A cache that cannot be written costs time, nothing else, and is not an error."""
        if not self._changed:
            return
        kept = dict(list(self._known.items())[-_LIMIT:])
        try:
            paths.atomic_write(self._file, json.dumps(kept).encode())
        except OSError:
            return
        self._changed = False


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


def _read(file: Path) -> dict[str, list[Fault]]:
    """Return the remembered verdicts, none where the file is absent, unreadable or not what this module writes."""
    try:
        document: Any = json.loads(file.read_bytes())
        return {str(digest): [(str(at), str(why)) for at, why in faults] for digest, faults in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
