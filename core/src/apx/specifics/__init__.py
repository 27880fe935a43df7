"""The taxonomy's specifics as small values that a method composes: schedule, structure, locality, criterion, rates."""

from .compose import masks_by, masks_from, masks_from_units
from .criterion import Criterion, GradientMagnitude, LearnedScore, Magnitude, RandomScore
from .locality import Global, Local, Locality
from .named import BUILTIN_CRITERIA, criterion_of
from .rates import ERK, IGQ, RateStrategy, Uniform
from .schedule import Iterative, OneShot, Schedule
from .structure import Channels, Columns, Filters, Kernels, Structure, Weights, structure_of

__all__ = [
    "BUILTIN_CRITERIA",
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
    "criterion_of",
    "masks_by",
    "masks_from",
    "masks_from_units",
    "structure_of",
]
