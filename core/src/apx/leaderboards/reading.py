"""Read what leaderboards are made of: JSON files, results documents without their samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apx_taxonomy import validate

from ..errors import UserError


def read_json(file: Path, wanted: str) -> Any:
    """Return the content of a JSON file; `wanted` says in an error what should be given.

    Raises:
        UserError: the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; give {wanted}") from error
    except ValueError as error:  # of JSON and of its encoding
        raise UserError(f"{file} is no JSON document ({error}): give {wanted}") from error


def results_summary(file: Path, content: object | None = None) -> Mapping[str, Any]:
    """Return a results document without its samples: checking 10,000 of them takes a second, and no row needs one.

    Args:
        file: where it is.
        content: what the file holds, where it was read already.

    Raises:
        UserError: the file cannot be read, or holds no results document.
    """
    wanted = "a file of `apx evaluate --out`"
    found = read_json(file, wanted) if content is None else content
    summary = {**found, "samples": []} if isinstance(found, dict) and "samples" in found else found
    if problems := validate(summary, "results"):
        raise UserError(f"{file} is no results document ({problems[0]}): give {wanted}")
    assert isinstance(summary, dict)  # what the schema says
    return summary
