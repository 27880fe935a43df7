"""A zoo in a folder: for each key a record and safetensors files, as `publish` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from .record import Record, RecordedFile, read_record, record_name
from .sources import Kind, Offer, RefusedError, Report, Source


def recorded_offers(record: Record, kind: Kind, title: str) -> Sequence[Offer]:
    """Return what a record offers.

    Raises:
        UserError: it has no file of that kind.
    """
    file: RecordedFile | None = record.model if kind == "checkpoint" else record.distances
    if file is None:
        raise UserError(f"{title} has no distances of {record.key}: give a file of your own with --file")
    return [Offer(record.key, kind, file.file, file.file, file.sha256, record)]


class FolderSource(Source):
    """A folder of records and safetensors files; nothing is copied, what is read is compared with its record."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"there is no folder {path} for --zoo: give a folder, hf:owner/name, or drive")
        self.path = path

    @property
    def title(self) -> str:
        """See `Source`."""
        return f"the zoo {self.path}"

    @property
    def folder(self) -> str:
        """See `Source`; a folder's files need no other place."""
        return ""

    def names(self) -> list[str]:
        """Return the keys that the folder has a record of, unread."""
        return sorted(path.stem for path in self.path.glob("*.json") if path.stem.count("_") == 5)

    def record(self, key: ModelKey) -> Record:
        """Return the record of a key.

        Raises:
            UserError: the folder has none, or it is not valid.
        """
        path = self.path / record_name(key)
        if not path.is_file():
            near = get_close_matches(str(key), self.names(), n=1)
            hint = f", did you mean {near[0]}?" if near else f"; it has {len(self.names())} networks"
            raise UserError(f"{self.title} has no {key}{hint}")
        return read_record(path, key)

    def offers(self, key: ModelKey, kind: Kind) -> Sequence[Offer]:
        """See `Source`."""
        return recorded_offers(self.record(key), kind, self.title)

    def fetch(self, offer: Offer, target: Path, report: Report) -> None:
        """Never called: the files are here."""
        raise RefusedError(f"{self.title} has lost its file {offer.place}")

    def local(self, offer: Offer) -> Path | None:
        """See `Source`."""
        return self.path / offer.place
