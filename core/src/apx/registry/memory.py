"""What the registry found out once and need not find out again: one JSON file of answers, each under a digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import paths


class Memory:
    """A file that maps digests to JSON values. It is a cache: whatever is wrong with it costs time and nothing else.

    `name` is the file's, in apx's cache folder; of more than `limit` answers the oldest go.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._file = paths.home() / name
        self._limit = limit
        self._known = _read(self._file)
        self._changed = False

    def recall(self, digest: str) -> Any:
        """Return what is remembered under a digest, None where nothing is."""
        return self._known.get(digest)

    def remember(self, digest: str, value: Any) -> None:
        """Note a value, which `save` writes."""
        self._known[digest] = value
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


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
