"""The claims that are checked, one function each; what they mean is said where they are judged."""

from .exported import dead_batch_norm, masked_zero, reported
from .locality import excluded, locality
from .repetition import resume, seed, test_set
from .schedule import schedule
from .stage import stage
from .structure import granularity, sparsity

__all__ = [
    "dead_batch_norm",
    "excluded",
    "granularity",
    "locality",
    "masked_zero",
    "reported",
    "resume",
    "schedule",
    "seed",
    "sparsity",
    "stage",
    "test_set",
]
