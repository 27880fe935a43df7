"""Where the files of a zoo come from: the interface of a source, and the reading of `--zoo`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from .record import Record

Kind = Literal["checkpoint", "distances", "record"]
Report = Callable[[int, int | None], None]
"""Hears how far a download is: bytes so far, bytes in all where the source says so."""
ZOO = "APX_ZOO"
"""Environment variable: the zoo where none is given."""


class UnreachableError(Exception):
    """A download did not come through; another try may succeed."""


class RefusedError(Exception):
    """A source does not hand a file out, or handed out something else; another try would end alike."""


@dataclass(frozen=True)
class Offer:
    """One file that a source offers for a key.

    `place` is how the source finds it, `name` how it is called in the cache; `sha256` where that is published;
    `record` what a zoo of converted networks says of it.
    """

    key: ModelKey
    kind: Kind
    place: str
    name: str
    sha256: str | None = None
    record: Record | None = None


class Source(ABC):
    """A place that files of keys come from; it knows nothing of caches and checks."""

    waits: Sequence[float] = (1.0, 2.0, 4.0)
    """Seconds to wait before each further try."""
    shows_progress: bool = False
    """Whether `fetch` itself draws how far it is."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What people call it."""

    @property
    @abstractmethod
    def folder(self) -> str:
        """Where its files are kept, below the cache's part `zoo`."""

    @abstractmethod
    def offers(self, key: ModelKey, kind: Kind) -> Sequence[Offer]:
        """Return the files that may be what is asked for, to be tried in this order; at least one.

        Raises:
            UserError: there is none, and the sentence says why.
        """

    @abstractmethod
    def fetch(self, offer: Offer, target: Path, report: Report) -> None:
        """Write the offered file to `target`; what an interrupted call has left beside it may be used.

        Raises:
            UnreachableError: another try may succeed.
            RefusedError: no other try will.
            UserError: what was asked for is not there, and the sentence says what to ask for instead.
        """

    def local(self, offer: Offer) -> Path | None:
        """Return where the file already lies, for a source on this machine."""
        return None

    def address(self, offer: Offer) -> str | None:
        """Return where a browser finds the file."""
        return None


def source_of(zoo: Source | Path | str | None) -> Source:
    """Return the source that `--zoo` names.

    Args:
        zoo: a source; a folder, also as file://...; `hf:owner/name`, a repository of the Hugging Face Hub, with
            `@revision` at its end if wanted; `drive`, the benchmark's files on Google Drive. None is what the
            environment variable APX_ZOO says, else `drive`.

    Raises:
        UserError: there is no such folder, or the repository's name is none.
    """
    from .drive import DriveSource
    from .folder import FolderSource
    from .hub import HubSource

    if isinstance(zoo, Source):
        return zoo
    chosen = str(zoo) if zoo is not None else os.environ.get(ZOO) or "drive"
    if chosen == "drive":
        return DriveSource()
    if chosen.startswith("hf:"):
        return HubSource(chosen.removeprefix("hf:"))
    if "://" in chosen and not chosen.startswith("file://"):
        raise UserError(f"the zoo '{chosen}' is not allowed: give a folder, hf:owner/name, or drive")
    folder = url2pathname(urlsplit(chosen).path) if chosen.startswith("file://") else chosen
    return FolderSource(Path(folder).expanduser())
