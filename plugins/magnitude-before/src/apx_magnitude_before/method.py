"""Baseline: magnitude pruning of the untrained network, composed of core's specifics alone."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from apx import BeforeTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings
from apx.specifics import Magnitude, masks_by
from apx.training import quick, recipes


class MagnitudePruningBeforeSettings(MethodSettings):
    """Defaults: HYDRA's pretraining recipe."""

    train: TrainSettings = Field(
        recipes.PRETRAIN,
        description="training of what is left; the dense baseline trains in the same way",
    )


class MagnitudePruningBefore(BeforeTraining):
    """Prune the initial network (the smallest |w| go), then train what is left."""

    slug = "magnitude-before"
    Settings = MagnitudePruningBeforeSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {"train": quick.PRETRAIN}}
    settings: MagnitudePruningBeforeSettings

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Keep the best by the criterion."""
        return masks_by(Magnitude(), model, run)
