"""RobustBird (Chen et al., ICLR 2022, arXiv 2202.09844): robust early-bird tickets."""

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from apx import BeforeTraining, Dynamics, MaskedModel, Masks, MethodSettings, Run, TrainSettings
from apx.selection import order_statistic, pruned_count
from apx.specifics import Magnitude, masks_by
from apx.training import quick

_SGD: Mapping[str, Any] = {
    "epochs": 200,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "lr_schedule": "step",
    "milestones": (0.25, 0.75),
}
_ATTACK: Mapping[str, Any] = {"eps": 8 / 255, "steps": 10}


class RobustBirdSettings(MethodSettings):
    """Defaults: the official script for CIFAR-10 (milestones 50 and 150 of 200; FlyingBird's script has 100, 150)."""

    early_bird: TrainSettings = Field(
        TrainSettings(objective="nat", **_SGD, **_ATTACK),
        description="the dense training that ends with the ticket: nat, fgsm-rs or pgd (attack step 2/255 or 1.25 eps)",
    )
    train: TrainSettings = Field(
        TrainSettings(
            objective="pgd", alpha=2 / 255, attack_bn="train", handover="best", val_steps=20, **_SGD, **_ATTACK
        ),
        description="adversarial training of the ticket; handover best (PGD-20 on validation data) or last",
    )
    normalise: bool = Field(True, description="subtract and divide by the data's statistics inside the network")
    window: int = Field(5, ge=2, description="masks of so many last epochs are compared")
    threshold: float = Field(0.08, description="largest mask distance at which the ticket counts as found")
    normalise_distance: bool = Field(
        False, description="divide distances by 2 min(s, 1 - s), their largest value; the official ones shrink with it"
    )


class RobustBird(BeforeTraining):
    """Train densely until the magnitude mask settles, prune once by global magnitude, train what is left.

    No rewinding: surviving weights and batch-norm statistics keep their values; the optimiser starts afresh.
    The detector watches convolutions only, the pruner ranks convolutions and linear layers, as published.
    """

    slug = "robustbird"
    Settings = RobustBirdSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "early_bird": {**quick.PRETRAIN, "objective": "nat"},
            "train": quick.PRETRAIN,
        },
        # no official setting; at 0.1 adversarial training on SVHN is prone to stay at chance
        "paper:svhn": {"train": {"lr": 0.01}},
    }
    settings: RobustBirdSettings

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Draw the early-bird ticket, then the masks from the weights of that epoch."""
        s = self.settings
        detector = EarlyBird(run.target, window=s.window, threshold=s.threshold, normalise=s.normalise_distance)
        run.train("early-bird", model, s.early_bird, dynamics=detector)
        if detector.epochs:  # not where a resumed run had drawn the ticket before
            run.progress.note(detector.verdict())
        return masks_by(Magnitude(), model, run)


class EarlyBird(Dynamics):
    """Ends the phase at the first epoch whose mask lies within `threshold` of each of the window's earlier masks."""

    def __init__(self, sparsity: float, *, window: int = 5, threshold: float = 0.08, normalise: bool = False) -> None:
        self._sparsity = sparsity
        self._threshold = threshold
        self._scale = (2 * min(sparsity, 1 - sparsity) if normalise else 0.0) or 1.0
        self._masks: deque[Tensor] = deque(maxlen=window)
        self.epochs = 0
        self.emerged = False

    def epoch_end(self, model: MaskedModel, epoch: int) -> bool:
        """Compare this epoch's mask with the earlier ones."""
        return self.observe(convolution_weights(model.module))

    def observe(self, weights: Tensor) -> bool:
        """Take in the weights after an epoch (flat) and say whether the ticket has emerged."""
        self._masks.append(detector_mask(weights, self._sparsity))
        self.epochs += 1
        full = len(self._masks) == self._masks.maxlen
        self.emerged = full and all(distance <= self._threshold for distance in self.distances())
        return self.emerged

    def verdict(self) -> str:
        """Say when the ticket emerged (at high sparsity the distance is small by itself, and it does at once)."""
        largest = max(self.distances(), default=0.0)
        found = "emerged" if self.emerged else "has not emerged"
        return f"early bird: {found} after {self.epochs} epochs (largest mask distance {largest:.4f})"

    def distances(self) -> list[float]:
        """Return the distances from the newest mask to the earlier ones, newest first."""
        if not self._masks:
            return []
        *earlier, newest = self._masks
        return [mask_distance(newest, mask) / self._scale for mask in reversed(earlier)]

    def state(self) -> dict[str, Any]:
        """Return the window of masks and the epochs seen."""
        return {"masks": list(self._masks), "epochs": self.epochs}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the window of masks and the epochs seen."""
        self.epochs = state["epochs"]
        self._masks.clear()
        self._masks.extend(state["masks"])


def convolution_weights(module: nn.Module) -> Tensor:
    """Return all convolution weights as one flat tensor, linear layers left out."""
    weights = [layer.weight.detach().reshape(-1) for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return torch.cat(weights)


def detector_mask(weights: Tensor, sparsity: float) -> Tensor:
    """Return 1[|w| > tau], tau the floor(s N)-th order statistic counted from 0: N - floor(s N) - 1 ones, no ties."""
    magnitude = weights.abs()
    rank = min(pruned_count(sparsity, magnitude.numel()) + 1, magnitude.numel())
    return magnitude > order_statistic(magnitude, rank)


def mask_distance(a: Tensor, b: Tensor) -> float:
    """Return the share of differing entries of two bool masks (normalised Hamming distance)."""
    return float((a != b).double().mean())
