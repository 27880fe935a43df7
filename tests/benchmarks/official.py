"""The official code that apx is timed against: in a folder beside the project, which `APX_OFFICIAL` names.

It holds a copy of each repository by its name: `hydra` (github.com/inspire-group/hydra) and `robust_overfitting`
(github.com/locuslab/robust_overfitting). What is absent is skipped.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch


def official_module(repository: str, file: str, device: str) -> ModuleType:
    """Return a file of an official repository as a module for `device`; skip the test where there is none."""
    if "APX_OFFICIAL" not in os.environ:
        pytest.skip("APX_OFFICIAL names no folder of official repositories")
    root = Path(os.environ["APX_OFFICIAL"]) / repository
    if not (root / file).is_file():
        pytest.skip(f"APX_OFFICIAL has no {repository}/{file}")
    spec = importlib.util.spec_from_file_location(f"official_{repository}", root / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    known = set(sys.modules)
    sys.path.insert(0, str(root))
    try:
        with on_its_device(device):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(root))
        for name in set(sys.modules) - known:  # several repositories have a `utils` of their own
            if _lies_in(sys.modules[name], root):
                del sys.modules[name]
    return module


def _lies_in(module: ModuleType, root: Path) -> bool:
    places = [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", []))
    return any(Path(place).is_relative_to(root) for place in places if place)


@contextmanager
def on_its_device(device: str) -> Iterator[None]:
    """Let code that sends everything to a GPU run inside where its tensors are, when that is a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        if device == "cpu":
            patch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
        yield
