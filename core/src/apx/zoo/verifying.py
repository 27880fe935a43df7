"""Whether the files of the zoo on this machine are still what was downloaded, or what their records say."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from .content import sha256_of
from .downloads import kept_files
from .folder import FolderSource
from .keys import read_key
from .sources import source_of


@dataclass(frozen=True)
class Verdict:
    """One file: its key, what it is, where it lies, and what is wrong with it; None where nothing is."""

    key: str
    kind: str
    path: Path
    fault: str | None


def verify(keys: Collection[ModelKey | str] = (), zoo: Path | str | None = None) -> list[Verdict]:
    """Compare files with the SHA-256 that was remembered of them.

    Args:
        keys: only files of these keys; all where empty.
        zoo: a folder zoo, whose records are read too; the downloaded files of every source where None.

    Raises:
        UserError: a key is none, or there is no such folder.
    """
    wanted = {str(read_key(key)) for key in keys}
    source = None if zoo is None else source_of(zoo)
    if not (source is None or isinstance(source, FolderSource)):
        raise UserError(f"the files of {source.title} are verified once they are downloaded: leave --zoo out")
    found = _downloaded() if source is None else _in_folder(source)
    return [verdict for verdict in found if not wanted or verdict.key in wanted]


def _downloaded() -> Iterator[Verdict]:
    for kept in kept_files():
        fault = None
        if not kept.path.is_file():
            fault = "it is gone"
        elif kept.changed():
            fault = "it is not what was downloaded (another SHA-256)"
        yield Verdict(kept.key, kept.kind, kept.path, fault)


def _in_folder(source: FolderSource) -> Iterator[Verdict]:
    for name in source.names():
        path = source.path / f"{name}.json"
        try:
            record = source.record(read_key(name))
        except UserError as error:
            yield Verdict(name, "record", path, str(error))
            continue
        yield Verdict(name, "record", path, None)
        for kind, file in (("checkpoint", record.model), ("distances", record.distances)):
            if file is None:
                continue
            there = source.path / file.file
            same = there.is_file() and sha256_of(there) == file.sha256
            fault = None if same else "it is not the one that its record names" if there.is_file() else "it is gone"
            yield Verdict(name, kind, there, fault)
