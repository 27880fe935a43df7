"""The official code that apx is timed against: in a folder beside the project, which `APX_OFFICIAL` names.

It holds a copy of each repository by its name: `hydra` (github.com/inspire-group/hydra) and `robust_overfitting`
(github.com/locuslab/robust_overfitting).
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

FILES = {"hydra": "utils/adv.py", "robust_overfitting": "train_cifar.py"}
"""Repository -> the file that holds what is timed."""


def what_is_missing(repository: str) -> str | None:
    """Return why a repository's file cannot be loaded, in words; None where it can."""
    if "APX_OFFICIAL" not in os.environ:
        return "APX_OFFICIAL names no folder of official repositories"
    if not (_root(repository) / FILES[repository]).is_file():
        return f"APX_OFFICIAL has no {repository}/{FILES[repository]}"
    return None


def official_module(repository: str) -> ModuleType:
    """Return the repository's file as a module. What it imports beside it stays on the path: one for each process."""
    root = _root(repository)
    spec = importlib.util.spec_from_file_location(f"official_{repository}", root / FILES[repository])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(root))
    spec.loader.exec_module(module)
    return module


def _root(repository: str) -> Path:
    return Path(os.environ["APX_OFFICIAL"]) / repository
