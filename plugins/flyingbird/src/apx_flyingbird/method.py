"""FlyingBird and FlyingBird+ (Chen et al., ICLR 2022, arXiv 2202.09844): dynamic sparse adversarial training."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apx import DuringTraining, Dynamics, MaskedModel, Run
from apx.training import quick

from .settings import FlyingBirdSettings
from .topology import TopologyUpdates


class FlyingBird(DuringTraining):
    """Train sparsely from the first step; now and then drop each layer's smallest weights and grow as many others.

    The layers' shares are fixed beforehand, masks start at random. The variant with a learned budget is FlyingBird+:
    in the second half of training, a growing robust generalisation gap makes updates drop more than they grow, and a
    growing validation loss makes them grow more. With `fidelity="official"` random growth meets its count only on
    average, and gradient growth may spend some of its count on weights that are active already.
    """

    slug = "flyingbird"
    Settings = FlyingBirdSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "train": quick.PRETRAIN,
            "update_interval": 0.6,
            "late_update_interval": 0.6,
            "plus_start": 0.3,  # so short a training overfits early
            "val_steps": 3,
        },
        # too short for the rule to be seen at its threshold: without one, FlyingBird+ moves at its first opportunity
        "check": {
            "train": {"epochs": 4},
            "update_interval": 0.5,
            "late_update_interval": 0.5,
            "threshold": 0.0,
            "val_steps": 1,
        },
        # no official setting; at 0.1 adversarial training on SVHN is prone to stay at chance
        "paper:svhn": {"train": {"lr": 0.01}},
    }
    settings: FlyingBirdSettings

    def prepare(self, model: MaskedModel, run: Run) -> None:
        """Masked weights and their momentum are zero where they are stored; their gradients are dense."""
        model.storage = "inplace"

    def dynamics(self, model: MaskedModel, run: Run) -> Dynamics:
        """Return the topology updates; FlyingBird+ is the variant with a learned budget."""
        return TopologyUpdates(self.settings, run, plus=self.variant.budget == "learned")
