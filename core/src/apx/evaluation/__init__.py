"""One fair evaluation for every model: clean, FGSM, PGD, AutoAttack or a plugin's attack, sample by sample."""

from .document import Target
from .interval import wilson
from .offered import ATTACKS, attack_named
from .protocol import evaluate

__all__ = ["ATTACKS", "Target", "attack_named", "evaluate", "wilson"]
