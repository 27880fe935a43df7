"""The index of the 2024 benchmark's files: 154 keys, which of them have a checkpoint or distances, and where.

The files lie on Google Drive, apx holds none of them. What the benchmark's own lists get wrong is put right here and
stated in `remarks`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .model_key import DATASETS, ModelKey, ModelKeyError

_FILE = Path(__file__).parent / "data" / "model_files.json"

Status = Literal["checkpoint", "distances only", "only a printed number"]
STATUSES: tuple[Status, ...] = ("checkpoint", "distances only", "only a printed number")


@dataclass(frozen=True)
class RemoteFile:
    """A file on Google Drive: its id, the ending that its content is known by, and its SHA-256 where that is known."""

    id: str
    extension: str
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Where a browser downloads it."""
        return f"https://drive.google.com/uc?id={self.id}"


@dataclass(frozen=True)
class SurveyMethod:
    """A method of the survey: its key in the taxonomy, its slug in apx, and other spellings of its key and name."""

    ap_key: str
    slug: str
    aliases: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """Everything a user may write for this method, the key first."""
        return (self.ap_key, self.slug, *self.aliases)


@dataclass(frozen=True)
class ZooEntry:
    """One key of the benchmark and the files that are offered for it.

    Attributes:
        key: the key, spelt as everywhere else in the benchmark.
        slug: of the method in apx.
        checkpoints: the files that may be its checkpoint, to be tried in this order; more than one where the
            benchmark lists several and does not say which is which.
        distances: its file of minimum-norm distances, None where there is none.
        printed: whether a leaderboard prints a number for it.
        remarks: what is unusual about it, in sentences.
    """

    key: ModelKey
    slug: str
    checkpoints: tuple[RemoteFile, ...]
    distances: RemoteFile | None
    printed: bool
    remarks: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """Say what there is of it."""
        if self.checkpoints:
            return "checkpoint"
        return "distances only" if self.distances is not None else "only a printed number"

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain JSON values."""
        return {
            "key": str(self.key),
            "method": self.slug,
            "ap_key": self.key.ap_key,
            "arch": self.key.arch,
            "dataset": DATASETS[self.key.dataset],
            "structure": self.key.structure,
            "sparsity": self.key.sparsity,
            "status": self.status,
            "checkpoints": [_file_as_dict(file) for file in self.checkpoints],
            "distances": None if self.distances is None else _file_as_dict(self.distances),
            "printed": self.printed,
            "remarks": list(self.remarks),
        }


def zoo_entries() -> tuple[ZooEntry, ...]:
    """Return all 154 entries, in the order of the benchmark's methods."""
    return _index()[1]


def survey_methods() -> tuple[SurveyMethod, ...]:
    """Return the 26 methods of the survey, also those of which no checkpoint was published."""
    return _index()[0]


def survey_method(spelling: str) -> SurveyMethod | None:
    """Return the method that a slug, a name or a key means, in any case; None where the survey has none of it."""
    wanted = unicodedata.normalize("NFC", spelling).casefold()
    return next((one for one in survey_methods() if wanted in map(str.casefold, one.spellings)), None)


def canonical_key(key: ModelKey) -> ModelKey:
    """Return the key with its method spelt as in the taxonomy: `RADMM_Ye2019Sparsity_...` is a misspelt RADMM."""
    known = survey_method(key.ap_key)
    if known is None or known.ap_key == key.ap_key:
        return key
    name, _, reference = known.ap_key.partition("_")
    return replace(key, name=name, reference=reference)


def read_key(text: str) -> ModelKey:
    """Read a key in the benchmark's or a misspelt form; the answer has the taxonomy's spelling of the method.

    Raises:
        ModelKeyError: it is no key; where one of the benchmark is near, the sentence names it.
    """
    try:
        return canonical_key(ModelKey.parse(text))
    except ModelKeyError as error:
        # where one piece is wrong, the sentence already says what is allowed in its place
        hint = "" if text.count("_") == 5 else _nearest(text)
        raise ModelKeyError(f"{error}{hint}") from None


def zoo_entry(key: ModelKey | str) -> ZooEntry:
    """Return the entry of a key, also of a misspelt one that the benchmark uses.

    Raises:
        ModelKeyError: it is no key, or the benchmark does not have it; the sentence names the nearest.
    """
    wanted = canonical_key(key) if isinstance(key, ModelKey) else read_key(key)
    for entry in zoo_entries():
        if entry.key == wanted:
            return entry
    if survey_method(wanted.ap_key) is None:
        nearest = get_close_matches(wanted.ap_key, [one.ap_key for one in survey_methods()], n=1)
        hint = f", did you mean '{nearest[0]}'?" if nearest else ";"
        raise ModelKeyError(
            f"'{wanted.ap_key}' in '{wanted}' is no method of the survey{hint} `apx zoo list` shows the keys"
        )
    raise ModelKeyError(f"the benchmark has no {wanted}{_nearest(str(wanted))}; `apx zoo list` shows the keys")


def select_zoo(
    *,
    method: Collection[str] = (),
    arch: Collection[str] = (),
    dataset: Collection[str] = (),
    structure: Collection[str] = (),
    sparsity: Collection[int] = (),
    available: bool = False,
) -> list[ZooEntry]:
    """Return the entries that are all of what is asked; an empty field asks for nothing, several values mean any.

    Args:
        method: slugs of methods (`survey_method` reads other spellings).
        arch, dataset, structure: words of a key.
        sparsity: percent.
        available: only entries with a checkpoint.
    """
    return [
        entry
        for entry in zoo_entries()
        if _meets(method, entry.slug)
        and _meets(arch, entry.key.arch)
        and _meets(dataset, entry.key.dataset)
        and _meets(structure, entry.key.structure)
        and (not sparsity or entry.key.sparsity in sparsity)
        and (not available or entry.status == "checkpoint")
    ]


def _meets(wanted: Collection[str], value: str) -> bool:
    return not wanted or value in wanted


def _nearest(text: str) -> str:
    found = get_close_matches(text, [str(entry.key) for entry in zoo_entries()], n=1, cutoff=0.8)
    return f" (did you mean {found[0]}?)" if found else ""


def _file_as_dict(file: RemoteFile) -> dict[str, Any]:
    return {"id": file.id, "extension": file.extension, "url": file.url, "sha256": file.sha256}


@cache
def _index() -> tuple[tuple[SurveyMethod, ...], tuple[ZooEntry, ...]]:
    document = json.loads(_FILE.read_text(encoding="utf-8"))
    methods = tuple(SurveyMethod(one["ap_key"], one["slug"], tuple(one["aliases"])) for one in document["methods"])
    slugs = {one.ap_key: one.slug for one in methods}
    return methods, tuple(_entries(document["keys"], slugs))


def _entries(records: Iterable[dict[str, Any]], slugs: dict[str, str]) -> Iterable[ZooEntry]:
    for record in records:
        key = ModelKey.parse(record["key"])
        distances = record["distances"]
        yield ZooEntry(
            key,
            slugs[key.ap_key],
            tuple(RemoteFile(**file) for file in record["checkpoints"]),
            None if distances is None else RemoteFile(**distances),
            record["printed"],
            tuple(record.get("remarks", ())),
        )
