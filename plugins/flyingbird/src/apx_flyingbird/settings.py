"""What a user may set for FlyingBird and FlyingBird+."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from apx import MethodSettings, TrainSettings
from apx.training.settings import parse_fraction

Epochs = Annotated[float, BeforeValidator(parse_fraction), Field(gt=0)]


class FlyingBirdSettings(MethodSettings):
    """Defaults: the official commands for CIFAR-10, every network alike; the last six are FlyingBird+'s."""

    train: TrainSettings = Field(
        TrainSettings(
            epochs=200,
            objective="pgd",
            eps=8 / 255,
            alpha=2 / 255,
            steps=10,
            attack_bn="train",
            lr=0.1,
            momentum=0.9,
            weight_decay=5e-4,
            lr_schedule="step",
            milestones=(0.5, 0.75),
            handover="best",
            val_steps=20,
        ),
        description="the only phase, sparse from its first step; handover best (PGD-20 on validation data) or last",
    )
    normalise: bool = Field(True, description="subtract and divide by the data's statistics inside the network")
    allocation: Literal["igq", "erk"] = Field("igq", description="how the layers' shares are fixed: quotas or ERK")
    growth: Literal["random", "gradient"] = Field("random", description="random is SET's, gradient RigL's")
    death_rate: float = Field(0.5, ge=0, le=1, description="share of the active weights that the first update drops")
    final_death_rate: float = Field(0.005, ge=0, le=1, description="to which the share falls as a cosine")
    update_interval: Epochs | None = Field(
        900 / 352, description="epochs between topology updates (900 steps of CIFAR-10); null: static sparse training"
    )
    late_update_interval: Epochs = Field(1200 / 352, description="the same, after half of the epochs")
    plus_start: float = Field(0.5, ge=0, le=1, description="share of the epochs after which the density may move")
    window: int = Field(4, ge=1, description="epoch-to-epoch differences that decide on extra pruning and growth")
    threshold: float = Field(0.5, ge=0, le=1, description="share of them that has to point upwards")
    extra_drop: float = Field(0.4, ge=0, description="extra pruning, as a share of what is dropped")
    extra_growth: float = Field(0.05, ge=0, description="extra growth, as a share of what is regrown")
    val_steps: int = Field(20, ge=0, description="PGD steps of the robust accuracy on validation data")
