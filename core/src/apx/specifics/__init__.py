"""The taxonomy's specifics as small values that a method composes: schedule, structure, locality, criterion, rates."""

from .compose import masks_by, masks_from, masks_from_units
from .criterion import Criterion, GradientMagnitude, LearnedScore, Magnitude, RandomScore
from .locality import Global, Local, Locality
from .rates import ERK, IGQ, RateStrategy, Uniform
from .schedule import Iterative, OneShot, Schedule
from .structure import Channels, Columns, Filters, Kernels, Structure, Weights, structure_of

__all__ = [
    "ERK",
    "IGQ",
    "Channels",
    "Columns",
    "Criterion",
    "Filters",
    "Global",
    "GradientMagnitude",
    "Iterative",
    "Kernels",
    "LearnedScore",
    "Local",
    "Locality",
    "Magnitude",
    "OneShot",
    "RandomScore",
    "RateStrategy",
    "Schedule",
    "Structure",
    "Uniform",
    "Weights",
    "masks_by",
    "masks_from",
    "masks_from_units",
    "structure_of",
]
