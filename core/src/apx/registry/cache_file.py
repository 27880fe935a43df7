"""What the registry found out once and need not find out again: one JSON file of answers, each under its question."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import paths


class CacheFile:
    """A file that maps questions to JSON values, read when the first is asked.

    Whatever is wrong with it costs time and nothing else. `name` is the file's, in apx's cache folder; of more than
    `limit` answers the oldest go.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._file = paths.home() / name
        self._limit = limit
        self._changed = False

    def recall(self, question: str) -> Any:
        """Return the answer that is remembered, None where none is."""
        return self._known.get(question)

    def remember(self, question: str, answer: Any) -> None:
        """Note an answer, which `save` writes."""
        self._known[question] = answer
        self._changed = True

    def save(self) -> None:
        """Write what is new. A cache that cannot be written is no error."""
        if not self._changed:
            return
        kept = dict(list(self._known.items())[-self._limit :])
        try:
            paths.atomic_write(self._file, json.dumps(kept).encode())
        except OSError:
            return
        self._changed = False

    @cached_property
    def _known(self) -> dict[str, Any]:
        return _read(self._file)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
