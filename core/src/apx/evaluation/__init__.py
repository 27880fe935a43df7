"""One fair evaluation for every model: by a protocol or by single attacks, sample by sample.

Names are imported at first use: reading a stored results document needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue import ATTACKS, PROTOCOLS, attacks_of
    from .document import Target
    from .interval import wilson
    from .journal import Journal
    from .protocol import evaluate

_HOMES = {
    "ATTACKS": ".catalogue",
    "PROTOCOLS": ".catalogue",
    "Journal": ".journal",
    "Target": ".document",
    "attacks_of": ".catalogue",
    "evaluate": ".protocol",
    "wilson": ".interval",
}

__all__ = ["ATTACKS", "PROTOCOLS", "Journal", "Target", "attacks_of", "evaluate", "wilson"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value
