"""What the benchmark's zoo has: entries chosen by words in any spelling, and everything known of one key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from apx_taxonomy import model_key, zoo_index
from apx_taxonomy.model_key import ARCHS, DATASETS, ModelKey, ModelKeyError
from apx_taxonomy.zoo_index import SurveyMethod, ZooEntry

from ..errors import UserError
from ..lookup import choose
from .downloads import kept_files
from .folder import FolderSource
from .keys import benchmark_entry, read_key
from .record import Record
from .sources import source_of

T = TypeVar("T")


def listed(
    *,
    method: Iterable[str] = (),
    arch: Iterable[str] = (),
    dataset: Iterable[str] = (),
    structure: Iterable[str] = (),
    sparsity: Iterable[float] = (),
    available: bool = False,
) -> list[ZooEntry]:
    """Return the benchmark's entries that are all of what is asked; several values of one kind mean any of them.

    Args:
        method: slugs, names or keys of methods.
        arch: R18, V16, or an architecture of apx.
        dataset: CIFAR10 or SVHN, in any case.
        structure: US, S, or a word for them.
        sparsity: percent, or fractions below 1.
        available: only those with a checkpoint.

    Raises:
        UserError: a word that is none; the sentence names the allowed ones and the nearest.
    """
    return zoo_index.select_zoo(
        method=[_method(spelling).slug for spelling in method],
        arch=_words(model_key.read_arch, arch),
        dataset=_words(model_key.read_dataset, dataset),
        structure=_words(model_key.read_structure, structure),
        sparsity=_words(model_key.read_sparsity, sparsity),
        available=available,
    )


def recorded(
    zoo: str | Path,
    *,
    method: Iterable[str] = (),
    arch: Iterable[str] = (),
    dataset: Iterable[str] = (),
    structure: Iterable[str] = (),
    sparsity: Iterable[float] = (),
) -> list[Record]:
    """Return the records of a folder zoo that are all of what is asked, by their keys; filters as of `listed`.

    A method that the survey does not know is given by its key, Name_AuthorYearWord.

    Raises:
        UserError: it is no folder, a record cannot be read, a word is none.
    """
    source = source_of(str(zoo))
    if not isinstance(source, FolderSource):
        raise UserError(f"{source.title} cannot be listed: give a folder, or leave --zoo out for the benchmark's keys")
    wanted: dict[str, list[Any]] = {
        "ap_key": [_ap_key(spelling) for spelling in method],
        "arch": _words(model_key.read_arch, arch),
        "dataset": _words(model_key.read_dataset, dataset),
        "structure": _words(model_key.read_structure, structure),
        "sparsity": _words(model_key.read_sparsity, sparsity),
    }
    records = [source.record(read_key(name)) for name in source.names()]
    return [
        record
        for record in records
        if all(not values or getattr(record.key, name) in values for name, values in wanted.items())
    ]


def _ap_key(spelling: str) -> str:
    known = zoo_index.survey_method(spelling)
    return spelling if known is None else known.ap_key


def described(key: ModelKey | str) -> dict[str, Any]:
    """Return everything that is known of a key without downloading anything, as plain JSON values.

    To `ZooEntry.as_dict` come `published`, the accuracies in percent that a leaderboard prints (None for none), and
    `kept`, the files of it that are on this machine.

    Raises:
        UserError: it is no key, or the benchmark does not have it.
    """
    entry = benchmark_entry(key)
    places = {file.id for file in entry.checkpoints} | ({entry.distances.id} if entry.distances else set())
    kept = [one for one in kept_files() if one.key == str(entry.key) or one.path.parent.name in places]
    return {
        **entry.as_dict(),
        "networks": list(entry.key.networks),
        "published": _published(entry.key),
        "kept": [{"path": str(one.path), "kind": one.kind, "sha256": one.sha256, "bytes": one.bytes} for one in kept],
    }


def _published(key: ModelKey) -> dict[str, Any] | None:
    from apx_taxonomy import leaderboard, leaderboard_names

    for board in map(leaderboard, leaderboard_names()):
        if (board["dataset"], board["structure"]) != (DATASETS[key.dataset], key.structure):
            continue
        cells = [cell for row in board["rows"] if row["key"] == key.ap_key for cell in row["cells"]]
        for cell in cells:
            if (cell["arch"], cell["sparsity"]) == (ARCHS[key.arch], key.sparsity) and cell["clean"] is not None:
                return {"leaderboard": board["name"], "clean": cell["clean"], "robust": cell["robust"]}
    return None


def _method(spelling: str) -> SurveyMethod:
    known = zoo_index.survey_method(spelling)
    return known or choose({one.slug: one for one in zoo_index.survey_methods()}, spelling, "method of the survey")


def _words(read: Callable[[Any], T], spellings: Iterable[Any]) -> list[T]:
    try:
        return [read(spelling) for spelling in spellings]
    except ModelKeyError as error:
        raise UserError(str(error)) from None
