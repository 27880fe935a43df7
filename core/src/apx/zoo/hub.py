"""A zoo in a repository of the Hugging Face Hub: the files of a folder zoo, downloaded one by one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from .downloads import obtain
from .folder import recorded_offers
from .record import Record, read_record, record_name
from .sources import Kind, Offer, Report, Source, UnreachableError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class HubSource(Source):
    """A repository of the Hugging Face Hub, `owner/name` or `owner/name@revision`, fetched by `huggingface_hub`."""

    waits = ()  # the library tries again by itself
    shows_progress = True

    def __init__(self, repository: str) -> None:
        name, _, revision = repository.partition("@")
        if not _REPOSITORY.fullmatch(name):
            raise UserError(f"'{repository}' is no repository of the Hugging Face Hub: give --zoo hf:owner/name")
        self._repository, self._revision = name, revision or None

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
        import huggingface_hub
        from huggingface_hub import errors

        # OSError, and the error of the HTTP library, whichever the version at hand is built on
        bases = cast("tuple[type[Exception], ...]", errors.HfHubHTTPError.__bases__)
        transfer: tuple[type[Exception], ...] = (*bases, errors.XetDownloadError)
        with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as folder:
            try:
                path = huggingface_hub.hf_hub_download(
                    self._repository, offer.place, revision=self._revision, local_dir=folder
                )
            except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
                raise UserError(
                    f"the Hugging Face Hub shows you no repository {self._repository}: correct "
                    f"--zoo hf:{self._repository}, or, if it is private or gated, log in with `hf auth login`"
                ) from error
            except errors.RevisionNotFoundError as error:
                raise UserError(
                    f"{self.title} has no revision '{self._revision or 'main'}': name another as "
                    f"--zoo hf:{self._repository}@REVISION"
                ) from error
            except errors.RemoteEntryNotFoundError as error:
                raise UserError(
                    f"{self.title} has no {offer.place} (revision '{self._revision or 'main'}'): name a key that it "
                    "has, or another --zoo"
                ) from error
            except transfer as error:
                raise UnreachableError(_first_line(error)) from error
            os.replace(path, target)

    def address(self, offer: Offer) -> str | None:
        """See `Source`."""
        return f"https://huggingface.co/{self._repository}/blob/{self._revision or 'main'}/{offer.place}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
