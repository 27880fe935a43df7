"""For authors' tests: tiny networks and data, runs of seconds in memory, `assert_conforms`.

Where apx is installed, pytest has the fixtures of `apx.testing.fixtures` without being told (`-p no:apx` turns them
off). Names are imported at first use, so that a test session that uses none of them does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conforming import assert_conforms
    from .steps import GivenSteps
    from .tiny import tiny_data, tiny_net, tiny_split
    from .trial import Trial, TrialMaker

__all__ = ["GivenSteps", "Trial", "TrialMaker", "assert_conforms", "tiny_data", "tiny_net", "tiny_split"]

_HOMES = {
    "GivenSteps": "steps",
    "Trial": "trial",
    "TrialMaker": "trial",
    "assert_conforms": "conforming",
    "tiny_data": "tiny",
    "tiny_net": "tiny",
    "tiny_split": "tiny",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
