"""What happened to each sample, and the one way an adversarial example is accepted."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .network import Logits
from .progress import Meter
from .samples import Batch, Samples

_ROUNDING = 1e-6  # float32 rounding of x + eps


@dataclass
class Outcome:
    """Clean predictions [n], the attack that broke each sample (None: none did), attack records, warnings.

    `rejected` counts images outside the threat model; `providers` are the distributions whose attacks ran, by version.
    """

    predictions: Tensor
    correct: Tensor
    broken_by: list[str | None]
    attacks: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rejected: int = 0
    providers: dict[str, str] = field(default_factory=dict)

    @property
    def robust(self) -> Tensor:
        """Bool [n]: classified correctly and broken by no attack so far."""
        return self.correct & torch.tensor([attack is None for attack in self.broken_by])

    def record(self, attack: str, batch: Batch, x_adv: Tensor, predictions: Tensor, eps: float) -> None:
        """Note which samples of `batch` the images `x_adv` break, by our own prediction on them.

        An image outside the ball or outside [0, 1] breaks nothing, whatever the attack says; it is counted.
        """
        allowed = within_threat(x_adv, batch.x, eps)
        self.rejected += int((~allowed).sum())
        for row in batch.rows[(allowed & (predictions != batch.y)).cpu()].tolist():
            self.broken_by[row] = attack


@dataclass
class Attempt:
    """One evaluation under way: what every attack is given."""

    network: Logits
    samples: Samples
    outcome: Outcome
    meter: Meter
    eps: float
    batch_size: int
    seed: int
    device: torch.device

    def judge(self, attack: str, batch: Batch, x_adv: Tensor) -> None:
        """Predict the returned images and record which samples they break."""
        with torch.no_grad():
            predictions = self.network(x_adv).argmax(dim=1)
        self.outcome.record(attack, batch, x_adv, predictions, self.eps)
        self.meter.robust = int(self.outcome.robust.sum())


def within_threat(x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    """Return bool [B]: `x_adv` is within `eps` (Linf) of `x` and in [0, 1]; NaN is outside."""
    distance = (x_adv - x).abs().flatten(1).amax(dim=1)
    inside = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)
    return (distance <= eps + _ROUNDING) & inside
