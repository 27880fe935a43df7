"""The four published leaderboards: 28 rows, 168 cells, 154 of them numbers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "data" / "published_leaderboards.json"


def leaderboard_names() -> list[str]:
    """Return the names of the published leaderboards, such as `cifar10-us`."""
    return [str(board["name"]) for board in _boards()]


def leaderboard(name: str) -> dict[str, Any]:
    """Return one published leaderboard (see schemas/leaderboard.json); accuracies are percent, as printed.

    Raises KeyError for an unknown name.
    """
    for board in _boards():
        if board["name"] == name:
            return board
    raise KeyError(f"no published leaderboard named {name!r}; there are {', '.join(leaderboard_names())}")


@cache
def _boards() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(_FILE.read_text(encoding="utf-8")))
