"""A zoo in a repository of the Hugging Face Hub: the files of a folder zoo, downloaded one by one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from .downloads import obtain
from .folder import recorded_offers
from .record import Record, read_record, record_name
from .sources import Kind, Offer, RefusedError, Report, Source, UnreachableError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

Transport = Callable[[str, str | None, str, Path, Report], None]
"""Write a file of (repository, revision, name) to a path; raises as `Source.fetch` does."""


def by_huggingface_hub(repository: str, revision: str | None, name: str, target: Path, report: Report) -> None:
    """Download one file of a repository; the library shows its own progress."""
    import huggingface_hub
    from huggingface_hub import errors

    missing = (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.RemoteEntryNotFoundError,
        errors.HFValidationError,
    )
    # OSError, and the error of the HTTP library, whichever the version at hand is built on
    bases = cast("tuple[type[Exception], ...]", errors.HfHubHTTPError.__bases__)
    transfer: tuple[type[Exception], ...] = (*bases, errors.XetDownloadError)
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as folder:
        try:
            path = huggingface_hub.hf_hub_download(repository, name, revision=revision, local_dir=folder)
        except missing as error:
            raise RefusedError(f"it has no {name} ({_first_line(error)})") from error
        except transfer as error:
            raise UnreachableError(_first_line(error)) from error
        os.replace(path, target)


class HubSource(Source):
    """A repository of the Hugging Face Hub, `owner/name` or `owner/name@revision`, fetched by `transport`."""

    waits = ()  # the library tries again by itself
    shows_progress = True

    def __init__(self, repository: str, transport: Transport = by_huggingface_hub) -> None:
        name, _, revision = repository.partition("@")
        if not _REPOSITORY.fullmatch(name):
            raise UserError(f"'{repository}' is no repository of the Hugging Face Hub: give --zoo hf:owner/name")
        self._repository, self._revision, self._transport = name, revision or None, transport

    @property
    def title(self) -> str:
        """See `Source`."""
        return f"the Hugging Face repository {self._repository}"

    @property
    def folder(self) -> str:
        """See `Source`."""
        revision = "" if self._revision is None else f"@{self._revision.replace('/', '--')}"
        return f"hf/{self._repository.replace('/', '--')}{revision}"

    def record(self, key: ModelKey, *, again: bool = False) -> Record:
        """Return the record of a key, downloaded once.

        Raises:
            UserError: the repository has none, it cannot be reached, or the record is not valid.
        """
        name = record_name(key)
        return read_record(obtain(self, Offer(key, "record", name, name), again=again), key)

    def offers(self, key: ModelKey, kind: Kind) -> Sequence[Offer]:
        """See `Source`."""
        return recorded_offers(self.record(key), kind, self.title)

    def fetch(self, offer: Offer, target: Path, report: Report) -> None:
        """See `Source`."""
        self._transport(self._repository, self._revision, offer.place, target, report)

    def address(self, offer: Offer) -> str | None:
        """See `Source`."""
        return f"https://huggingface.co/{self._repository}/blob/{self._revision or 'main'}/{offer.place}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
