"""Rows of tables in the schema of a leaderboard: the four published ones, and files of submitted results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from apx_taxonomy import leaderboard as published
from apx_taxonomy import leaderboard_names, validate

from ..errors import UserError
from .attack import attack_of_protocol
from .differs import marked
from .row import Row, Score, Source


def published_rows() -> list[Row]:
    """Return a row for each cell of the published tables, the 14 dashes too."""
    return [row for name in leaderboard_names() for row in _rows(published(name), "published", name)]


def board_rows(file: Path, content: Any) -> list[Row]:
    """Return the rows of a leaderboard file, marked by what differs; it holds one table or a list of them.

    Raises:
        UserError: the content is no leaderboard.
    """
    boards = content if isinstance(content, list) else [content]
    for board in boards:
        if problems := validate(board, "leaderboard"):
            raise UserError(f"{file} is no leaderboard ({problems[0]}): give one that `apx submit merge` wrote")
    return [marked(row) for board in boards for row in _rows(board, "local", str(file))]


@cache
def _printed_names() -> Mapping[str, str]:
    return {row["method"]: row["name"] for name in leaderboard_names() for row in published(name)["rows"]}


def printed_name(method: str) -> str:
    """Return how the published tables print a method's slug; the slug itself where they do not have it."""
    return _printed_names().get(method, method)


def _rows(board: Mapping[str, Any], source: Source, place: str) -> Iterator[Row]:
    of_the_table = () if source == "published" else board.get("remarks", ())  # of a published one said once, below
    for method in board["rows"]:
        for cell in method["cells"]:
            yield Row(
                source=source,
                place=place,
                method=method["method"],
                name=method.get("name") or printed_name(method["method"]),
                dataset=board["dataset"],
                arch=cell["arch"],
                structure=board["structure"],
                sparsity=float(cell["sparsity"]),
                unit=cell.get("unit"),
                own=cell.get("own"),
                reported=cell.get("reported"),
                clean=_score(cell["clean"], cell.get("clean_interval")),
                robust=_score(cell["robust"], cell.get("robust_interval")),
                attack=attack_of_protocol(board["protocol"]),
                protocol=board["protocol"],
                norm=board["threat"]["norm"],
                eps=float(board["threat"]["eps"]),
                n=cell.get("n", board.get("n")),
                selected_on=cell.get("selected_on"),
                bold=cell.get("bold", False),
                flops=cell.get("flops"),
                milliseconds=cell.get("milliseconds"),
                remarks=(*of_the_table, *method.get("remarks", ()), *((cell["remark"],) if "remark" in cell else ())),
            )


def _score(printed: float | None, interval: tuple[float, float] | None) -> Score | None:
    return None if printed is None else Score(float(printed), *(interval or (None, None)))
