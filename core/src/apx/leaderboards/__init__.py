"""Leaderboards: the four published tables, and one's own evaluated runs beside them.

Importing this package imports neither torch nor numpy.
"""

from .board import SORTABLE, leaderboard
from .row import Row, Score

__all__ = ["SORTABLE", "Row", "Score", "leaderboard"]
