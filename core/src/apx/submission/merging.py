"""Appending a verified bundle to a leaderboard file, which `apx leaderboard --file` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apx_taxonomy import validate

from ..errors import UserError
from ..paths import atomic_write
from .verifying import Verified


def merge(manifest: Mapping[str, Any], models: Sequence[Verified], board: Path, *, replace: bool = False) -> int:
    """Append the models of a bundle to a leaderboard file, which is made where it is missing; return how many.

    A table holds one data set, structure, threat and protocol. All is written at once, or nothing is.

    Args:
        manifest: of the bundle, as `verify` returned it.
        models: its models.
        board: a list of tables (schema `leaderboard`).
        replace: take the place of results that the file has of the same method, network and sparsity.

    Raises:
        UserError: the file is no leaderboard, cannot be written, or has the result already.
    """
    tables = _read(board)
    for verified in models:
        row = _row(_table(tables, verified), manifest)
        cell = _cell(verified)
        place = {(one["arch"], one["sparsity"]): at for at, one in enumerate(row["cells"])}.get(
            (cell["arch"], cell["sparsity"])
        )
        if place is None:
            row["cells"].append(cell)
        elif replace:
            row["cells"][place] = cell
        else:
            what = f"{manifest['method']} on {cell['arch']} at {cell['sparsity']:g} %"
            raise UserError(f"{board} has {what} already: replace it with --force, or choose another --to")
    for table in tables:
        if faults := validate(table, "leaderboard"):
            raise UserError(f"these results make no leaderboard ({faults[0]}): nothing was written")
    try:
        atomic_write(board, (json.dumps(tables, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {board} ({error.strerror or error}): choose another --to") from error
    return len(models)


def _read(board: Path) -> list[dict[str, Any]]:
    if not board.exists():
        return []
    try:
        found = json.loads(board.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{board} cannot be read ({error}): choose another --to") from error
    tables = found if isinstance(found, list) else [found]
    for table in tables:
        if faults := validate(table, "leaderboard"):
            raise UserError(f"{board} is no leaderboard ({faults[0]}): choose another --to")
    return tables


def _table(tables: list[dict[str, Any]], verified: Verified) -> dict[str, Any]:
    """Return the table that the result belongs into, with its network and sparsity among the columns."""
    model, document = verified.model, verified.document
    same = {
        "dataset": model["dataset"],
        "structure": model["structure"],
        "threat": document["threat"],
        "protocol": document["protocol"],
    }
    for table in tables:
        if all(table[key] == value for key, value in same.items()):
            break
    else:
        words = "-".join(
            "".join(c if c.isalnum() else "-" for c in str(one).lower()) for one in _words(model, document)
        )
        table = {
            "schema_version": "1",
            "name": f"submitted-{words}".replace("--", "-").strip("-"),
            "title": f"Submitted: {model['dataset']}, {model['structure']}, {document['protocol']}",
            **same,
            "archs": [],
            "sparsities": [],
            "source": {"url": None, "revision": None, "date": datetime.now(UTC).date().isoformat()},
            "rows": [],
        }
        tables.append(table)
    for column, value in (("archs", model["arch"]), ("sparsities", model["sparsity"])):
        if value not in table[column]:
            table[column] = [*table[column], value] if column == "archs" else sorted([*table[column], value])
    return table


def _words(model: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[object, ...]:
    threat = document["threat"]
    return (
        model["dataset"].rsplit("/", 1)[-1],
        model["structure"],
        document["protocol"],
        threat["norm"],
        f"{threat['eps']:.4g}",
    )


def _row(table: dict[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    for row in table["rows"]:
        if row["method"] == manifest["method"]:
            found: dict[str, Any] = row
            return found
    made = {"method": manifest["method"], "key": manifest["key"], "name": manifest["name"], "cells": []}
    table["rows"].append(made)
    return made


def _cell(verified: Verified) -> dict[str, Any]:
    model, document = verified.model, verified.document
    clean, robust = document["clean_accuracy"], document["robust_accuracy"]
    return {
        "arch": model["arch"],
        "sparsity": model["sparsity"],
        "clean": _percent(clean["value"]),
        "robust": _percent(robust["value"]),
        "clean_interval": [_percent(clean["low"]), _percent(clean["high"])],
        "robust_interval": [_percent(robust["low"]), _percent(robust["high"])],
        "n": document["n"],
        "selected_on": document["selected_on"],
        "unit": model["unit"],
        "own": _percent(model["own"]),
        "reported": _percent(model["reported"]),
        "remark": f"Submitted; {verified.again} samples were evaluated again."
        + (f" Network of width {model['width']}." if model["width"] is not None else ""),
    }


def _percent(share: float) -> float:
    return round(100 * share, 4)
