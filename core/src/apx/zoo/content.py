"""Whether a file is what it is taken for: looked at by content, never by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import UserError
from .sources import Kind

_WEB_PAGE = (b"<!doctype html", b"<html", b"<head", b"<?xml")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(path: Path, kind: Kind) -> str | None:
    """Say why a file cannot be what it is taken for; None where it opens, whole, without running code."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not path.stat().st_size:
        return "the file is empty"
    if start.startswith(_WEB_PAGE):
        return (
            "the file is a web page, as Drive sends it when too many have downloaded the file today or when it is no "
            "longer public"
        )
    try:
        _open(path, kind)
    except UserError as error:
        text = str(error)
        for named in (f"the checkpoint {path}", f"the file {path}", str(path)):
            text = text.replace(named, "the file")
        return text
    return None


def _open(path: Path, kind: Kind) -> None:
    if kind == "record":
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"it is no JSON document: {error}") from error
    elif kind == "distances":
        from .distances import read_distances

        read_distances(path)
    else:
        from ..export import read_checkpoint

        read_checkpoint(path)
