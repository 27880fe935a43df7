"""The registry: which methods there are, what they claim, and the one place that loads plugins.

Looking (`entries`, `entry`, `failures`) runs no plugin code and imports neither torch nor numpy; only `load_method`
and the functions that merge what plugins offer (`architectures`, `datasets`, ...) import plugins. `inspection` looks at
all of them closely, in a process of its own.
"""

from __future__ import annotations

from .catalogue import catalogue, entries, entry
from .discovery import Plugin
from .extensions import architectures, attacks, commands, criteria, datasets, objectives, observers
from .failure import Failure
from .hyperparameters import Hyperparameter, values_for
from .listing import list_methods
from .loading import failures, load_method, refresh
from .method_entry import Entry, View
from .query import Query, read_word, select

__all__ = [
    "Entry",
    "Failure",
    "Hyperparameter",
    "Plugin",
    "Query",
    "View",
    "architectures",
    "attacks",
    "commands",
    "criteria",
    "datasets",
    "entries",
    "entry",
    "failures",
    "list_methods",
    "load_method",
    "objectives",
    "observers",
    "plugins",
    "read_word",
    "refresh",
    "select",
    "values_for",
]


def plugins() -> list[Plugin]:
    """Return every plugin on the path, by distribution name."""
    return list(catalogue().plugins)
