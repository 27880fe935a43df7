"""The zoo: published networks by model key, from Google Drive, a folder or a Hugging Face repository.

`load_model` and `load_distances` are what users call. Importing this package imports neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from apx_taxonomy.model_key import ModelKey

from .keys import looks_like_key, method_of, read_key
from .sources import Offer, RefusedError, Source, UnreachableError, source_of

if TYPE_CHECKING:
    from .distances import load_distances
    from .downloads import Kept, kept_files, obtain
    from .drive import DriveSource
    from .fetching import download_key
    from .folder import FolderSource
    from .hub import HubSource
    from .model import ZooModel, load_model, open_model
    from .publishing import publish
    from .verifying import Verdict, verify

_HOMES = {
    "DriveSource": ".drive",
    "FolderSource": ".folder",
    "HubSource": ".hub",
    "Kept": ".downloads",
    "Verdict": ".verifying",
    "ZooModel": ".model",
    "download_key": ".fetching",
    "kept_files": ".downloads",
    "load_distances": ".distances",
    "load_model": ".model",
    "obtain": ".downloads",
    "open_model": ".model",
    "publish": ".publishing",
    "verify": ".verifying",
}

__all__ = [
    "DriveSource",
    "FolderSource",
    "HubSource",
    "Kept",
    "ModelKey",
    "Offer",
    "RefusedError",
    "Source",
    "UnreachableError",
    "Verdict",
    "ZooModel",
    "download_key",
    "kept_files",
    "load_distances",
    "load_model",
    "looks_like_key",
    "method_of",
    "obtain",
    "open_model",
    "publish",
    "read_key",
    "source_of",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value
