"""Data by name, held in memory: `load_dataset`, and what a training or evaluation loop draws from it.

Importing this package does not import torch; its names do, at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apx.datasets.batches import epoch_batches, ordered_batches, to_float
    from apx.datasets.dataset import Dataset
    from apx.datasets.loaders import from_loaders
    from apx.datasets.named import builtin_datasets, load_dataset
    from apx.datasets.split import Split

__all__ = [
    "Dataset",
    "Split",
    "builtin_datasets",
    "epoch_batches",
    "from_loaders",
    "load_dataset",
    "ordered_batches",
    "to_float",
]

_HOMES = {
    "Dataset": "dataset",
    "Split": "split",
    "builtin_datasets": "named",
    "epoch_batches": "batches",
    "from_loaders": "loaders",
    "load_dataset": "named",
    "ordered_batches": "batches",
    "to_float": "batches",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
