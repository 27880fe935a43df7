"""Download what a key names, without loading it."""

from __future__ import annotations

from pathlib import Path

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from .downloads import obtain
from .hub import HubSource
from .keys import read_key
from .sources import Kind, Source, source_of


def download_key(
    key: ModelKey | str,
    *,
    zoo: Source | Path | str | None = None,
    distances: bool = False,
    again: bool = False,
) -> list[Path]:
    """Return where the files of a key lie, downloaded where they are not here.

    Where several files may be the key's, all of them come, since only `open_model` tells which is.

    Args:
        key: the key.
        zoo: see `apx.zoo.source_of`.
        distances: its minimum-norm distances too, where the zoo has them.
        again: download what is here already.

    Raises:
        UserError: there is no such key, or a download fails.
    """
    wanted, source = read_key(key), source_of(zoo)
    if again and isinstance(source, HubSource):
        source.record(wanted, again=True)
    kinds: list[Kind] = ["checkpoint", "distances"] if distances else ["checkpoint"]
    found: list[Path] = []
    for kind in kinds:
        try:
            offers = source.offers(wanted, kind)
        except UserError:
            if kind == "distances":
                continue  # most keys have none
            raise
        found += [obtain(source, offer, again=again) for offer in offers]
    return found
