"""Baseline: magnitude pruning of a trained network, composed of core's specifics alone."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from apx import AfterTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings
from apx.specifics import Magnitude, masks_by
from apx.training import quick, recipes


class MagnitudePruningSettings(MethodSettings):
    """Defaults: HYDRA's training recipe, so that a method and its baseline differ in the pruning alone."""

    pretrain: TrainSettings = Field(recipes.PRETRAIN, description="the dense network")
    finetune: TrainSettings = Field(
        recipes.FINETUNE,
        description="training of what is left; between the rounds of an iterative schedule a fifth of its epochs",
    )


class MagnitudePruning(AfterTraining):
    """Pretrain, prune (the smallest |w| go), finetune; layer rates and schedule as the variant says."""

    slug = "magnitude"
    Settings = MagnitudePruningSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"pretrain": quick.PRETRAIN, "finetune": quick.FINETUNE},
    }
    settings: MagnitudePruningSettings

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Keep the best by the criterion."""
        return masks_by(Magnitude(), model, run)
