"""What happened to each sample, and the one way an adversarial example is accepted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .warning import Warnings


@dataclass
class Outcome:
    """Clean predictions [n], the attack that broke each sample (None: none did), attack records, warnings.

    `distances` [n] are those of a minimum-norm attack: NaN where none has looked, 0 where the clean image is
    misclassified, infinite where nothing was found. `rejected` counts images outside the threat model; `providers` are
    the distributions whose attacks ran, by version.
    """

    predictions: Tensor
    correct: Tensor
    broken_by: list[str | None]
    distances: Tensor
    attacks: list[dict[str, Any]] = field(default_factory=list)
    warnings: Warnings = field(default_factory=Warnings)
    rejected: int = 0
    providers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "Outcome":
        """Start from the logits [n, classes] of the clean images and their labels [n]."""
        predictions = logits.argmax(dim=1)
        return cls(predictions, predictions == labels, [None] * len(labels), torch.full((len(labels),), torch.nan))

    @property
    def robust(self) -> Tensor:
        """Bool [n]: classified correctly and broken by no attack so far."""
        return self.correct & torch.tensor([attack is None for attack in self.broken_by])

    @property
    def measured(self) -> bool:
        """Whether a minimum-norm attack has looked at the samples."""
        return not bool(self.distances.isnan().all())

    def breaks(self, attack: str, rows: Sequence[int]) -> None:
        """Note that `attack` broke the samples `rows`, where no earlier one had."""
        for row in rows:
            if self.broken_by[row] is None:
                self.broken_by[row] = attack

    def nearest(self, rows: Sequence[int], distances: Sequence[float]) -> None:
        """Note how far the nearest adversarial image of each of `rows` is; of several attacks the least counts."""
        found = torch.tensor(distances)
        self.distances[rows] = torch.fmin(self.distances[rows], found)
        self.distances[~self.correct] = 0.0
