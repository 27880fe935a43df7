"""apx: adversarial pruning, made executable. Names are imported at first use, so that `import apx` stays light.

`__all__` is the public interface, `core/tests/public_api.json` its committed form ("Stability" in core/README.md).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apx.api import prune, run
    from apx.architectures import build
    from apx.datasets import Dataset, Split, load_dataset
    from apx.errors import ApxError, UserError
    from apx.evaluation import evaluate
    from apx.hookspecs import hookimpl
    from apx.leaderboards import leaderboard
    from apx.masked_model import MaskedModel
    from apx.masks import Masks, reported_sparsity
    from apx.method import AfterTraining, BeforeTraining, DuringTraining, Method, MethodSettings, Variant
    from apx.registry import entries, entry, failures, list_methods, load_method
    from apx.runner.context import Run
    from apx.runner.observer import Observer
    from apx.shrinking import shrink
    from apx.training.dynamics import Dynamics, Position
    from apx.training.objectives import Batch, Objective
    from apx.training.settings import TrainSettings
    from apx.zoo import ModelKey, load_distances, load_model

API_VERSION = "1"
"""Version of the interface between apx and plugins; an entry states it as `api`, a plugin without one as `apx_api`."""

_HOMES = {
    "AfterTraining": "apx.method",
    "ApxError": "apx.errors",
    "Batch": "apx.training.objectives",
    "BeforeTraining": "apx.method",
    "Dataset": "apx.datasets",
    "DuringTraining": "apx.method",
    "Dynamics": "apx.training.dynamics",
    "MaskedModel": "apx.masked_model",
    "Masks": "apx.masks",
    "Method": "apx.method",
    "MethodSettings": "apx.method",
    "ModelKey": "apx.zoo",
    "Objective": "apx.training.objectives",
    "Observer": "apx.runner.observer",
    "Position": "apx.training.dynamics",
    "Run": "apx.runner.context",
    "Split": "apx.datasets",
    "TrainSettings": "apx.training.settings",
    "UserError": "apx.errors",
    "Variant": "apx.method",
    "build": "apx.architectures",
    "entries": "apx.registry",
    "entry": "apx.registry",
    "evaluate": "apx.evaluation",
    "failures": "apx.registry",
    "hookimpl": "apx.hookspecs",
    "leaderboard": "apx.leaderboards",
    "list_methods": "apx.registry",
    "load_dataset": "apx.datasets",
    "load_distances": "apx.zoo.distances",
    "load_method": "apx.registry",
    "load_model": "apx.zoo.model",
    "prune": "apx.api",
    "reported_sparsity": "apx.masks",
    "run": "apx.api",
    "shrink": "apx.shrinking",
}

_DEPRECATED: dict[str, tuple[str, str, str]] = {}
"""Former exports: old name -> (its new name here, version since which it warns, version that no longer has it)."""

__all__ = [
    "API_VERSION",
    "AfterTraining",
    "ApxError",
    "Batch",
    "BeforeTraining",
    "Dataset",
    "DuringTraining",
    "Dynamics",
    "MaskedModel",
    "Masks",
    "Method",
    "MethodSettings",
    "ModelKey",
    "Objective",
    "Observer",
    "Position",
    "Run",
    "Split",
    "TrainSettings",
    "UserError",
    "Variant",
    "build",
    "entries",
    "entry",
    "evaluate",
    "failures",
    "hookimpl",
    "leaderboard",
    "list_methods",
    "load_dataset",
    "load_distances",
    "load_method",
    "load_model",
    "prune",
    "reported_sparsity",
    "run",
    "shrink",
]


def __getattr__(name: str) -> Any:
    if name in _DEPRECATED:
        return _renamed(name, *_DEPRECATED[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'apx' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def _renamed(old: str, new: str, since: str, removed_in: str) -> Any:
    """Return what `old` is called now, with a warning each time: it is not kept under the old name."""
    from apx.deprecation import Deprecation

    Deprecation(f"apx.{old}", since, removed_in, f"apx.{new}").warn(stacklevel=3)
    return getattr(importlib.import_module(__name__), new)
