"""The benchmark's files where they were published: Google Drive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from .keys import benchmark_entry
from .sources import Kind, Offer, RefusedError, Report, Source, UnreachableError

TIMEOUT = 60.0
"""Seconds that the server may be silent."""

_ONLY = {
    "checkpoint": "checkpoint",
    "distances only": "distances",
    "only a printed number": "number on a leaderboard",
}

Transport = Callable[[str, Path, Report], None]
"""Write the file of a Drive id to a path; raises as `Source.fetch` does."""


def by_gdown(file_id: str, target: Path, report: Report) -> None:
    """Download one file of Google Drive; a part that an earlier call has left beside `target` is gone on with."""
    import gdown
    import requests

    try:
        gdown.download(
            id=file_id,
            output=str(target),
            quiet=True,
            use_cookies=False,
            resume=True,
            timeout=TIMEOUT,
            progress=report,
        )
    except gdown.FileURLRetrievalError as error:
        raise RefusedError(
            "Drive answers with a web page in place of the file, as it does when too many have downloaded it today, "
            "or when it is no longer public"
        ) from error
    except requests.Timeout as error:
        raise UnreachableError(f"no answer within {TIMEOUT:.0f} s") from error
    except requests.ConnectionError as error:  # its own text is a page of addresses
        raise UnreachableError("no connection to drive.google.com") from error
    except (gdown.DownloadError, OSError) as error:  # what else requests raises is an OSError
        raise UnreachableError(str(error)) from error


class DriveSource(Source):
    """The files of the benchmark's index on Google Drive, fetched by `transport`."""

    def __init__(self, transport: Transport = by_gdown) -> None:
        self._transport = transport

    @property
    def title(self) -> str:
        """See `Source`."""
        return "Google Drive"

    @property
    def folder(self) -> str:
        """See `Source`."""
        return "drive"

    def offers(self, key: ModelKey, kind: Kind) -> Sequence[Offer]:
        """See `Source`; several where the benchmark does not say which of its files is the one."""
        entry = benchmark_entry(key)
        files = entry.checkpoints if kind == "checkpoint" else (entry.distances,)
        found = [file for file in files if file is not None]
        if not found:
            raise UserError(
                f"no {kind} of {entry.key} was published, only its {_ONLY[entry.status]}: give a file of your own "
                "with --file, or another zoo with --zoo"
            )
        middle = "" if kind == "checkpoint" else ".distances"
        return [Offer(entry.key, kind, one.id, f"{entry.key}{middle}{one.extension}", one.sha256) for one in found]

    def fetch(self, offer: Offer, target: Path, report: Report) -> None:
        """See `Source`."""
        self._transport(offer.place, target, report)

    def address(self, offer: Offer) -> str | None:
        """See `Source`."""
        return f"https://drive.google.com/uc?id={offer.place}"
