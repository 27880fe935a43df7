"""Dense pretrained models, cached by all that determines them, so that many methods share one pretraining."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..paths import home
from ..state_file import save_tensors
from .directory import write_json

if TYPE_CHECKING:
    from ..datasets import Dataset

_VERSION = 2  # raise when the same settings would train to other weights


def dense_key(determines: Mapping[str, Any], data: "Dataset") -> str:
    """Return the key of a dense model: a hash of architecture, training settings, seed, device and data content."""
    content = {"version": _VERSION, "train": data.train.digest, "val": data.val.digest, **determines}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def dense_folder() -> Path:
    """Return the folder of cached dense models."""
    return home() / "dense"


def load_dense(key: str) -> dict[str, Tensor] | None:
    """Return the cached state dict of `key`, or None."""
    path = dense_folder() / key / "model.safetensors"
    if not path.exists():
        return None
    from safetensors.torch import load_file

    return load_file(path)


def store_dense(key: str, state: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Add a dense model to the cache.

    The entry is built in a temporary folder and renamed, so that two runs that train the same model at once are safe:
    the first rename wins, the other entry is dropped.
    """
    folder = dense_folder()
    if (folder / key / "model.safetensors").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
    try:
        save_tensors(temporary / "model.safetensors", state)
        write_json(temporary / "record.json", dict(record))
        try:
            os.rename(temporary, folder / key)
        except OSError:  # the entry exists: another run was first
            if not (folder / key / "model.safetensors").exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
