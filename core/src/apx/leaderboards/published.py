"""Rows of tables in the format of a leaderboard file: the four published ones, and files of submitted results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apx_taxonomy import leaderboard as published
from apx_taxonomy import leaderboard_names, validate

from ..errors import UserError
from .row import Row, Score, Source

_ATTACKS = {"benchmark2024": "AutoAttack", "standard": "AutoAttack", "plus": "AutoAttack plus", "quick": "PGD-20"}


def published_rows() -> list[Row]:
    """Return a row for each cell of the published tables, the 14 dashes too."""
    return [row for name in leaderboard_names() for row in rows_of(published(name), "published", name)]


def file_rows(file: Path) -> list[Row]:
    """Return the rows of a leaderboard file, as `apx submit merge` writes it.

    Raises:
        UserError: the file cannot be read, or is no leaderboard.
    """
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; give a leaderboard file") from error
    except ValueError as error:
        raise UserError(f"{file} is no JSON document ({error}): give a leaderboard file") from error
    boards = found if isinstance(found, list) else [found]
    for board in boards:
        if problems := validate(board, "leaderboard"):
            raise UserError(f"{file} is no leaderboard ({problems[0]}): give a file of `apx submit merge`")
    return [row for board in boards for row in rows_of(board, "local", str(file))]


def rows_of(board: Mapping[str, Any], source: Source, place: str) -> Iterator[Row]:
    """Yield a row per cell of a table in the leaderboard schema."""
    for method in board["rows"]:
        for cell in method["cells"]:
            remarks = [*method.get("remarks", []), *([cell["remark"]] if "remark" in cell else [])]
            yield Row(
                source=source,
                place=place,
                method=method["method"],
                name=method.get("name", method["method"]),
                dataset=board["dataset"],
                arch=cell["arch"],
                structure=board["structure"],
                sparsity=float(cell["sparsity"]),
                clean=_score(cell["clean"]),
                robust=_score(cell["robust"]),
                attack=_ATTACKS.get(board["protocol"], board["protocol"]),
                protocol=board["protocol"],
                norm=board["threat"]["norm"],
                eps=board["threat"]["eps"],
                n=10_000 if source == "published" else cell.get("n"),
                bold=cell.get("bold", False),
                remarks=tuple(remarks),
            )


def _score(printed: float | None) -> Score | None:
    return None if printed is None else Score(float(printed))
