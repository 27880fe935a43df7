"""What the last look at the path has found, for as long as nothing there changes.

Reading the metadata of all distributions, looking for the packages and hashing the entries takes longer than all else
that a listing does; seeing that none of it has changed takes no reading.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import PathFinder
from typing import Any

import apx_taxonomy

from .cache_file import CacheFile
from .discovery import Plugin

Mark = tuple[str, int, int]  # a file, its time of change in ns, its size

_LIMIT = 10  # environments that are remembered
_METADATA = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}
"""Ending of a distribution's folder -> the file in it that holds its version."""
_SETTLED_NS = 2_000_000_000  # a file changed later than this ago could change again and keep its time


class LastLook:
    """The plugins of the path as it stands, and the files of their entries that were found valid."""

    def __init__(self) -> None:
        self._cache = CacheFile("path.json", _LIMIT)
        self._state = _state_of_path()
        self.plugins, self._entry_marks = _understood(self._cache.recall(self._state) if self._state else None)

    def valid_entry(self, plugin: Plugin) -> str | None:
        """Return the path of a plugin's entry if it was valid and has not changed since, else None."""
        mark = self._entry_marks.get(plugin)
        return mark[0] if mark is not None and _mark(mark[0]) == mark else None

    def note(self, plugins: Iterable[Plugin], entries: Mapping[Plugin, str]) -> None:
        """Remember the plugins, all of them readable, and the files of the valid entries."""
        marks = {plugin: mark for plugin, file in entries.items() if _settled(mark := _mark(file))}
        found = list(plugins)
        if self._state is None or (found == self.plugins and marks == self._entry_marks):
            return
        rows = [[one.distribution, one.version, one.name, one.value, marks.get(one)] for one in found]
        self._cache.remember(self._state, rows)
        self._cache.save()


def _understood(rows: Any) -> tuple[list[Plugin] | None, dict[Plugin, Mark]]:
    """Return what `note` wrote; nothing where it is not that."""
    plugins: list[Plugin] = []
    marks: dict[Plugin, Mark] = {}
    try:
        for distribution, version, name, value, mark in rows:
            plugins.append(Plugin(str(distribution), str(version), str(name), str(value)))
            if mark is not None:
                file, changed, size = mark
                marks[plugins[-1]] = (str(file), int(changed), int(size))
    except (TypeError, ValueError):
        return None, {}
    return plugins, marks


def _state_of_path() -> str | None:
    """Write the places of the path with all that would change if a distribution or package came, went or changed.

    None where that cannot be told: a finder beside Python's own brings distributions from elsewhere, or something is
    so new that a next change might leave its time as it is. The schema of entries is part of it.
    No digest of it is made: to import hashlib takes longer than to read ten of these.
    """
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return None
    marks = [_mark(apx_taxonomy.schema_file("entry"))]
    for place in sys.path:
        marks += _marks(place or os.getcwd())
    return repr((sys.version, marks)) if all(map(_settled, marks)) else None


def _marks(place: str) -> Iterator[Mark]:
    """Yield the marks of a place, which changes when a package comes or goes, and of what is read of distributions."""
    yield _mark(place)
    try:
        found = sorted(one.path for one in os.scandir(place) if one.name.endswith(tuple(_METADATA)))
    except OSError:  # a zip file, or a place that is not there
        return
    for path in found:
        if os.path.isdir(path):
            yield _mark(os.path.join(path, "entry_points.txt"))
            yield _mark(os.path.join(path, _METADATA[os.path.splitext(path)[1]]))
        else:
            yield _mark(path)


def _mark(file: str) -> Mark:
    try:
        stat = os.stat(file)
    except OSError:  # most distributions have no entry points
        return file, 0, 0
    return file, stat.st_mtime_ns, stat.st_size


def _settled(mark: Mark) -> bool:
    return mark[1] < time.time_ns() - _SETTLED_NS
