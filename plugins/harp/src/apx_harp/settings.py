"""What HARP lets one set."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from apx import MethodSettings, TrainSettings

_COMMON: Mapping[str, Any] = {
    **{"objective": "pgd", "attack_bn": "eval", "eps": 0.031, "alpha": 0.0078, "steps": 10},
    **{"batch_size": 128, "momentum": 0.9, "weight_decay": 5e-4, "lr_schedule": "shifted-cosine", "handover": "best"},
}


class HarpSettings(MethodSettings):
    """Defaults: the official code for CIFAR-10 and SVHN, ResNet18 and VGG16 alike."""

    pretrain: TrainSettings = Field(TrainSettings(epochs=100, lr=0.1, **_COMMON), description="the dense network")
    prune: TrainSettings = Field(
        TrainSettings(epochs=20, lr=0.1, **_COMMON), description="the search for rates and scores, weights frozen"
    )
    finetune: TrainSettings = Field(
        TrainSettings(epochs=100, lr=0.01, **_COMMON), description="training of what is left, masks fixed"
    )
    gamma_weights: float = Field(0.01, gt=0, description="the budget's weight in the first epoch, pruning weights")
    gamma_channels: float = Field(0.1, gt=0, description="the budget's weight in the first epoch, pruning channels")
    rate_floor: float = Field(0.1, ge=0, lt=1, description="alpha: every layer keeps at least alpha (1 - sparsity)")
    start: Literal["uniform", "erk", "lamp"] = Field("uniform", description="how the rates start; channels: uniform")
    start_weights: float = Field(0.1, gt=0, le=1, description="share of the weights kept at the start")
    start_channels: float = Field(1.0, gt=0, le=1, description="share of the channels kept at the start")
    learn: Literal["both", "rates", "scores"] = Field(
        "both", description="rates alone keep the order of magnitudes; scores alone start and stay at the budget"
    )
    quota_lr: float = Field(1.0, gt=0, description="learning rate of the quotas, as a multiple of the others'")
    quota_decay: bool = Field(True, description="weight decay acts on the quotas too, which pulls rates to the middle")
