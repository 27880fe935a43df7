"""Put a network into a folder zoo: safetensors, and a record with their SHA-256, written last."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from apx_taxonomy.model_key import DATASETS, ModelKey

from ..architectures.normalisation import normalisation_of
from ..errors import UserError
from ..export import export_state
from ..masks import reported_sparsity
from ..paths import atomic_write
from .content import sha256_of
from .distances import save_distances
from .keys import method_of, read_key
from .model import check_network
from .record import Record, RecordedFile, record_name


def publish(
    folder: Path | str,
    key: ModelKey | str,
    module: nn.Module,
    arch: str,
    *,
    distances: Iterable[float] | None = None,
    notes: Iterable[str] = (),
    replace: bool = False,
) -> Path:
    """Write a network, and its distances, into a folder that `--zoo` takes; return the path of its record.

    The files are `<key>.safetensors`, `<key>.distances.safetensors` and, when they are whole, `<key>.json` (schema
    `zoo-record`). The same files in a repository of the Hugging Face Hub make a zoo there.

    Args:
        folder: the zoo; it is made where it is missing.
        key: the network's key, of any method.
        module: a plain network, masks folded in, its normalisation inside; it is not changed.
        arch: its architecture, one of `ModelKey.networks`.
        distances: Linf distances per test image, in units of images in [0, 1]; infinity where nothing was found.
        notes: what else is to be known, in sentences.
        replace: write over what the folder has of the key.

    Raises:
        UserError: the network is not what the key says, or the folder has the key already.
    """
    wanted, folder = read_key(key), Path(folder)
    record = folder / record_name(wanted)
    if record.exists() and not replace:
        raise UserError(f"the zoo {folder} has {wanted} already: remove it, or choose another folder")
    remarks = check_network(wanted, arch, module, "the network to be published")
    weights = folder / f"{wanted}.safetensors"
    facts = {"arch": arch, "dataset": DATASETS[wanted.dataset], "method": method_of(wanted), "key": str(wanted)}
    export_state(weights, module, metadata=facts)
    normalisation = normalisation_of(module)
    made = Record(
        wanted,
        _recorded(weights),
        arch,
        reported_sparsity(module),
        normalisation,
        "none" if normalisation is None else "file",
        notes=(*notes, *remarks),
        distances=None if distances is None else _distances(folder / f"{wanted}.distances.safetensors", distances),
    )
    atomic_write(record, made.encoded())
    return record


def _distances(path: Path, distances: Iterable[float]) -> RecordedFile:
    save_distances(path, distances)
    return _recorded(path)


def _recorded(path: Path) -> RecordedFile:
    return RecordedFile(path.name, sha256_of(path), path.stat().st_size)
