"""One fair evaluation for every model: by a protocol or by single attacks, sample by sample."""

from .catalogue import ATTACKS, PROTOCOLS, attacks_of
from .document import Target
from .interval import wilson
from .journal import Journal
from .protocol import evaluate

__all__ = ["ATTACKS", "PROTOCOLS", "Journal", "Target", "attacks_of", "evaluate", "wilson"]
