"""A new plugin: from a place in the taxonomy to a distribution that installs, runs and keeps its entry's word."""

from .distribution import files, write
from .entry import PHASES, Description, check_key, check_name, slug_of
from .wish import BUDGETS, CRITERIA, GRANULARITIES, Wish, check_slug

__all__ = [
    "BUDGETS",
    "CRITERIA",
    "GRANULARITIES",
    "PHASES",
    "Description",
    "Wish",
    "check_key",
    "check_name",
    "check_slug",
    "files",
    "slug_of",
    "write",
]
