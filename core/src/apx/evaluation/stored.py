"""Read a results document that an earlier evaluation wrote."""

import json
from pathlib import Path
from typing import Any

from apx_taxonomy.validation import validate

from ..errors import UserError


def read_document(path: Path) -> dict[str, Any]:
    """Return the results document in a file, as `apx evaluate --out` wrote it.

    Raises:
        UserError: there is no such file, it is no JSON, or it is no results document.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a file of `apx evaluate --out`") from error
    except ValueError as error:  # of JSON and of its encoding
        raise UserError(f"{path} is no JSON document ({error}): give a file of `apx evaluate --out`") from error
    if problems := validate(document, "results"):
        more = f" and {len(problems) - 1} more problem(s)" if len(problems) > 1 else ""
        raise UserError(f"{path} is no results document ({problems[0]}{more}): give a file of `apx evaluate --out`")
    return document
