"""What apx keeps under its cache folder, and how to throw it away."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .paths import home
from .runs import folder_size

PARTS = {
    "dense": ("dense", "pretrained dense models that runs share"),
    "data": ("data", "downloaded and decoded data sets"),
    "zoo": ("zoo", "downloaded checkpoints and distances of published networks"),
    "verdicts": ("verdicts.json", "which entries are valid"),
    "path": ("path.json", "which plugins are installed, so that listing does not look again"),
}
"""The parts of the cache: name -> (file or folder under the cache folder, what it holds)."""


@dataclass(frozen=True)
class Part:
    """One part of the cache as it is now; `bytes` is 0 where there is nothing yet."""

    name: str
    path: Path
    holds: str
    bytes: int


def parts() -> list[Part]:
    """Return every part of the cache with its present size."""
    return [Part(name, home() / place, holds, _size(home() / place)) for name, (place, holds) in PARTS.items()]


def clear(part: Part) -> None:
    """Delete one part of the cache; only what apx keeps there, never the cache folder itself.

    Raises:
        UserError: it cannot be deleted.
    """
    try:
        if part.path.is_dir() and not part.path.is_symlink():
            shutil.rmtree(part.path)
        else:
            part.path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{part.path} cannot be removed: {error.strerror or error}") from error


def _size(path: Path) -> int:
    if path.is_dir():
        return folder_size(path)
    return path.stat().st_size if path.is_file() else 0
