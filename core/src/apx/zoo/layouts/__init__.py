"""Checkpoints as the methods' own code wrote them, converted into apx's architectures.

What a file is follows from the names and shapes of its tensors alone, never from what it is called. Nothing is
guessed: what is not recognised is refused.
"""

from .converting import Converted, convert

__all__ = ["Converted", "convert"]
