"""The quick preset's phases, shared by all methods: PGD-AT with few steps, minutes on a laptop.

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
    lr=0.01,
    momentum=0.9,
    weight_decay=5e-4,
    lr_schedule="cyclic",
    cyclic_peak=0.3,
    attack_bn="eval",
    handover="last",
).model_dump()

PRETRAIN: Mapping[str, Any] = {**_COMMON, "epochs": 7}
SEARCH: Mapping[str, Any] = {**_COMMON, "epochs": 2, "optimizer": "adam", "weight_decay": 0.0}
FINETUNE: Mapping[str, Any] = {**_COMMON, "epochs": 4}
