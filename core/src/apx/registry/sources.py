"""Which hooks the files of a plugin name: their text is read, nothing is run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

METHODS_HOOK = "apx_methods"
EXTENSION_HOOKS = (
    "apx_architectures",
    "apx_datasets",
    "apx_objectives",
    "apx_criteria",
    "apx_attacks",
    "apx_observers",
    "apx_commands",
)
HOOKS = (METHODS_HOOK, *EXTENSION_HOOKS)

_NAMED = re.compile(rb"\b(?:" + "|".join(HOOKS).encode() + rb")\b")
_IMPORT_ALL = re.compile(rb"\bimport\s*\*")
_COMPILED = (*EXTENSION_SUFFIXES, ".pyc")
_CACHE = "__pycache__"  # what is compiled in there has its source beside it


@dataclass(frozen=True)
class Sources:
    """The hooks that some files name. `opaque` says that there may be hooks which no text there shows."""

    hooks: frozenset[str]
    opaque: bool


def read_sources(places: Iterable[Path]) -> Sources:
    """Read Python files, given themselves or by the folders that hold them.

    Raises OSError where one cannot be read.
    """
    hooks: set[str] = set()
    opaque = True  # until a file shows what there is
    compiled = False
    for file in _files(places):
        if file.name.endswith(_COMPILED):
            compiled = True
        elif file.suffix == ".py":
            content = file.read_bytes()
            opaque = False
            hooks |= {name.decode() for name in _NAMED.findall(content)}
            compiled |= _IMPORT_ALL.search(content) is not None
    return Sources(frozenset(hooks), opaque or compiled)


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if not place.is_dir():
            yield place
            continue
        for folder, below, names in os.walk(place):
            below[:] = sorted(name for name in below if name != _CACHE)
            yield from (Path(folder, name) for name in sorted(names))
