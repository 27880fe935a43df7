"""Baseline: random pruning of a trained network, composed of core's specifics alone."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from apx import AfterTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings
from apx.specifics import RandomScore, masks_by
from apx.training import quick, recipes


class RandomPruningSettings(MethodSettings):
    """Defaults: HYDRA's training recipe, so that a method and its baseline differ in the pruning alone."""

    pretrain: TrainSettings = Field(recipes.PRETRAIN, description="the dense network")
    finetune: TrainSettings = Field(
        recipes.FINETUNE,
        description="training of what is left",
    )


class RandomPruning(AfterTraining):
    """Pretrain, prune (random weights or filters go), finetune; layer rates and schedule as the variant says."""

    slug = "random"
    Settings = RandomPruningSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"pretrain": quick.PRETRAIN, "finetune": quick.FINETUNE},
    }
    settings: RandomPruningSettings

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Keep the best by the criterion."""
        return masks_by(RandomScore(), model, run)
