"""Downloads: fetched beside the final place, looked into, remembered by SHA-256, and renamed as the last step.

A file is kept as `zoo/<source>/<place>/<name>` with `download.json` beside it. The folder appears by one rename, so a
file that was not downloaded whole, or not looked into, is never found there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from ..paths import atomic_write, home
from .content import fault_of, sha256_of
from .progress import showing
from .sources import Kind, Offer, RefusedError, Report, Source, UnreachableError

NOTE = "download.json"
_UNFINISHED = ".download-"
_STALE = 86_400  # seconds after which a download that somebody left is thrown away


@dataclass(frozen=True)
class Kept:
    """A downloaded file: where it lies, for which key it was fetched from where, its SHA-256 and size in bytes."""

    path: Path
    key: str
    kind: Kind
    source: str
    sha256: str
    bytes: int

    def changed(self) -> bool:
        """Say whether the file is no longer what was downloaded."""
        return not self.path.is_file() or sha256_of(self.path) != self.sha256


def obtain(source: Source, offer: Offer, *, again: bool = False) -> Path:
    """Return where an offered file lies on this machine, downloaded if it is not here; its SHA-256 is compared.

    Args:
        source: where it comes from.
        offer: the file.
        again: download it even if it is here.

    Raises:
        UserError: it cannot be downloaded, is not what it should be, or has changed since.
    """
    if (local := source.local(offer)) is not None:
        return _compared(local, offer, source)
    folder = home() / "zoo" / source.folder / _plain(offer.place)
    kept = None if again else _kept_in(folder)
    if kept is None:
        kept = _download(source, offer, folder)
    elif kept.changed() or offer.sha256 not in (None, kept.sha256):
        raise UserError(
            f"the file {kept.path} is not what was downloaded for {offer.key} (another SHA-256): fetch it again with "
            f"`apx zoo download {offer.key} --force`"
        )
    return kept.path


def kept_files() -> Iterator[Kept]:
    """Yield every downloaded file of the cache."""
    for note in sorted((home() / "zoo").rglob(NOTE)):
        if (kept := _kept_in(note.parent)) is not None:
            yield kept


def _compared(path: Path, offer: Offer, source: Source) -> Path:
    if not path.is_file():
        raise UserError(f"{source.title} has lost its file {path.name}")
    if offer.sha256 not in (None, sha256_of(path)):
        raise UserError(f"the file {path} is not the one that its record names (another SHA-256): it has changed")
    return path


def _kept_in(folder: Path) -> Kept | None:
    try:
        note = json.loads((folder / NOTE).read_bytes())
        return Kept(folder / note.pop("file"), **note)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder / NOTE} cannot be read ({error}): delete the folder {folder}") from error


def _download(source: Source, offer: Offer, folder: Path) -> Kept:
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))
    try:
        part = unfinished / offer.name
        with showing(offer.name, bar=not source.shows_progress) as report:
            _fetch(source, offer, part, report)
        sha256 = _accepted(source, offer, part)
        kept = Kept(folder / offer.name, str(offer.key), offer.kind, source.title, sha256, part.stat().st_size)
        _settle(unfinished, kept)
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return _kept_in(folder) or kept


def _fetch(source: Source, offer: Offer, target: Path, report: Report) -> None:
    """Fetch a file, with further tries after the source's waits."""
    for wait in (*source.waits, None):
        try:
            source.fetch(offer, target, report)
            return
        except RefusedError as error:
            what = f"{source.title} does not hand out {offer.name} ({_plain_text(error)})"
            raise UserError(f"{what}: try again another day, or {_by_hand(source, offer)}") from error
        except UnreachableError as error:
            if wait is None:
                what = f"{offer.name} could not be fetched from {source.title} ({_plain_text(error)})"
                raise UserError(
                    f"{what}: connect to the internet and try again, or {_by_hand(source, offer)}"
                ) from error
            time.sleep(wait)


def _accepted(source: Source, offer: Offer, part: Path) -> str:
    """Return the SHA-256 of a fetched file that is what it should be."""
    fault = fault_of(part, offer.kind) if part.is_file() else "nothing came"
    sha256 = "" if fault else sha256_of(part)
    if not fault and offer.sha256 not in (None, sha256):
        fault = f"its SHA-256 is {sha256}, not the published {offer.sha256}"
    if fault:
        what = f"{source.title} did not send a usable {offer.name} ({_plain_text(fault)}), so nothing was kept"
        raise UserError(f"{what}: try again another day, or {_by_hand(source, offer)}")
    return sha256


def _by_hand(source: Source, offer: Offer) -> str:
    address = source.address(offer)
    start = "download it by hand" if address is None else f"download {address} by hand"
    how = {
        "checkpoint": f"give it as `apx zoo load {offer.key} --file PATH`",
        "distances": f"give it as `apx zoo load {offer.key} --distances --file PATH`",
        "record": f"put it with its files into a folder, and give that as --zoo FOLDER for {offer.key}",
    }[offer.kind]
    return f"{start} and {how}"


def _plain_text(reason: object) -> str:
    return " ".join(str(reason).split()).rstrip(".")


def _settle(unfinished: Path, kept: Kept) -> None:
    """Write the note, and bring the file to the disk before it is renamed."""
    note = {**asdict(kept), "path": None, "file": kept.path.name}
    del note["path"]
    with (unfinished / kept.path.name).open("rb+") as file:
        os.fsync(file.fileno())
    atomic_write(unfinished / NOTE, (json.dumps(note, indent=2) + "\n").encode())


def _publish(unfinished: Path, folder: Path) -> None:
    """Put the finished folder into its place; an older one steps aside first."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
        os.replace(folder, aside / "old")
        shutil.rmtree(aside, ignore_errors=True)
    try:
        os.replace(unfinished, folder)
    except OSError:  # another process was faster: its file has been looked into just as well
        if not (folder / NOTE).is_file():
            raise


def _sweep(parent: Path) -> None:
    """Remove what downloads that were killed have left, once they are too old to be somebody's at work."""
    for left in parent.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):  # another process may be sweeping too
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left)


def _plain(place: str) -> str:
    return re.sub(r"[^\w.@-]", "_", place)
