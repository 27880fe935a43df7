"""The record of one network in a zoo of converted networks: `<key>.json` beside its safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apx_taxonomy.model_key import ModelKey

from ..architectures.normalisation import Normalisation
from ..errors import UserError


@dataclass(frozen=True)
class RecordedFile:
    """A file beside a record: its name, SHA-256 and size in bytes."""

    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Record:
    """What a zoo says of one network; schema `zoo-record` of apx_taxonomy.

    Attributes:
        key: the network's key.
        model: the file of its weights.
        arch: the architecture that the weights fit strictly.
        sparsity: zeros over all convolution and linear weights.
        normalisation: what the network does to its input first, None for nothing.
        normalisation_source: who says so: `file`, `method` or `none`.
        layout: the form that the original checkpoint had.
        notes: what else is to be known, in sentences.
        distances: the file of its minimum-norm distances.
    """

    key: ModelKey
    model: RecordedFile
    arch: str
    sparsity: float
    normalisation: Normalisation | None = None
    normalisation_source: str = "none"
    layout: str = "apx"
    notes: tuple[str, ...] = ()
    distances: RecordedFile | None = None

    def encoded(self) -> bytes:
        """Return the content of the record's file."""
        document = {"schema_version": "1", **asdict(self), "key": str(self.key), "notes": list(self.notes)}
        if self.distances is None:
            del document["distances"]
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def record_name(key: ModelKey) -> str:
    """Return the name of a key's record."""
    return f"{key}.json"


def read_record(path: Path, key: ModelKey | None = None) -> Record:
    """Read a record.

    Raises:
        UserError: it cannot be read, is no valid record, or is that of another key than `key`.
    """
    from apx_taxonomy import validate

    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the zoo's record {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"the zoo's record {path} is no JSON document: {error}") from error
    if problems := validate(document, "zoo-record"):
        raise UserError(f"the zoo's record {path} is not valid: {problems[0]}")
    record = _record(document)
    if key is not None and record.key != key:
        raise UserError(f"the zoo's record {path} is that of {record.key}, not of {key}")
    return record


def _record(document: Mapping[str, Any]) -> Record:
    statistics, distances = document["normalisation"], document.get("distances")
    return Record(
        ModelKey.parse(document["key"]),
        RecordedFile(**document["model"]),
        document["arch"],
        document["sparsity"],
        None if statistics is None else Normalisation(tuple(statistics["mean"]), tuple(statistics["std"])),
        document.get("normalisation_source", "none"),
        document.get("layout", "apx"),
        tuple(document.get("notes", ())),
        None if distances is None else RecordedFile(**distances),
    )
