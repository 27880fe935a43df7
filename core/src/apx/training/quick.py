"""The quick preset's phases, shared by all methods: PGD-AT with one step from a random start, minutes on a laptop.

Every phase is complete, nothing of a method's paper settings shines through: methods that pretrain with the same phase
share one dense model through the cache.
"""

from collections.abc import Mapping
from typing import Any

from .settings import TrainSettings

_COMMON = TrainSettings(
    objective="pgd",
    eps=None,
    alpha=None,
    steps=1,
    batch_size=32,
    optimizer="adam",
    lr=2e-3,
    weight_decay=0.0,
    lr_schedule="cyclic",
    cyclic_peak=0.3,
    attack_bn="eval",
    handover="last",
).model_dump()

PRETRAIN: Mapping[str, Any] = {**_COMMON, "epochs": 9}
SEARCH: Mapping[str, Any] = {**_COMMON, "epochs": 3, "lr": 1e-2}
FINETUNE: Mapping[str, Any] = {**_COMMON, "epochs": 4, "lr": 1e-3}
