"""What a user may set; the defaults are the preset `paper`."""

from typing import Literal

from pydantic import Field

from apx import MethodSettings, TrainSettings

from .flow import BatchNorm

# the paper trains on clean images; this is apx's choice for the benchmark's networks, with the sources in taxonomy.json
PGD_AT = TrainSettings(
    epochs=100,
    batch_size=128,
    objective="pgd",
    eps=8 / 255,
    alpha=2 / 255,
    steps=10,
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    lr_schedule="step",
    milestones=(0.5, 0.75),
    lr_decay=0.1,
)


class SynflowSettings(MethodSettings):
    """Scoring as published, then adversarial training of what is left."""

    rounds: int = Field(100, ge=2, description="scoring rounds n of the schedule IT")
    densities: Literal["exponential", "linear"] = Field(
        "exponential", description="kept fraction after round k: rho^(k/n), or 1 - (1 - rho) k/n"
    )
    init: Literal["kaiming-normal", "network"] = Field(
        "kaiming-normal", description="weights to score and to train: drawn as in the paper, or the network's own"
    )
    batch_norm: BatchNorm = Field("eval", description="batch norm while scoring: eval, train (of the ones), identity")
    score_dtype: Literal["float64", "float32"] = Field("float64", description="precision of the scores")
    dense_classifier: bool = Field(False, description="leave the last linear layer dense, and out of N")
    reinitialise: bool = Field(False, description="draw new weights under the final masks (ablation)")
    train: TrainSettings = Field(PGD_AT, description="training of what is left")
