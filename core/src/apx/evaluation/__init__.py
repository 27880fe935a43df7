"""One fair evaluation for every model: clean, FGSM, PGD and AutoAttack, with what happened to each sample."""

from .document import Target
from .interval import wilson
from .protocol import ATTACKS, evaluate

__all__ = ["ATTACKS", "Target", "evaluate", "wilson"]
