"""A new plugin: from a place in the taxonomy to a distribution that installs, runs and keeps its entry's word."""

from .distribution import files, write
from .entry import PHASES, Description, slug_of
from .wish import BUDGETS, CRITERIA, GRANULARITIES, Wish

__all__ = ["BUDGETS", "CRITERIA", "GRANULARITIES", "PHASES", "Description", "Wish", "files", "slug_of", "write"]
