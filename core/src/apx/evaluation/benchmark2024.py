"""The AP benchmark of 2024 (Piras et al., arXiv 2409.01249) as its published code evaluates, to compare with its rows.

AutoAttack's standard version at 0.031 on the first 10,000 test images, in batches of 500. Then HO-FMN (DLR, SGD,
CALR): 32 trials of 100 steps, all on the first 64 images, and an attack of 200 steps on the 128 images from 2,048 on.
An attack that finds nothing leaves the distance 0, hence a sample that counts as broken. Other protocols do otherwise.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .attack import Rehearsal
from .attempt import Attempt
from .document import accuracy
from .minimum import HOFMN
from .samples import ImageSplit, Source, pick
from .threat import Threat

EPS = 0.031
IMAGES = 10_000
BATCH_SIZE = 500
TUNED_ON = range(64)
ATTACKED = range(2048, 2048 + 128)
HO_FMN = HOFMN(
    loss="DLR",
    optimizer="SGD",
    scheduler="CALR",
    trials=32,
    trial_steps=100,
    trial_samples=64,
    steps=200,
    fidelity="official",
)
HO_FMN_EPS = 8 / 255
NOTE = (
    "as the benchmark's code of 2024 did it: 128 images, tuned on 64, a failed attack counts as broken; "
    "AutoAttack at 0.031, not 8/255"
)

_KEY = "benchmark2024/ho-fmn"


@dataclass(frozen=True)
class _First:
    """The first images of a split, as a split."""

    images: Tensor
    labels: Tensor


def settings(split: Source, *, norm: str, n: int | None) -> tuple[ImageSplit, float, int]:
    """Return samples, radius and batch size of the AutoAttack part: the first 10,000 samples, or all of fewer.

    Raises:
        UserError: a loader, a split too small for the HO-FMN part, another norm than Linf, or a number of samples.
    """
    if not isinstance(split, ImageSplit):
        raise UserError("protocol benchmark2024 takes samples by their positions: give a split, not a loader")
    if len(split.labels) < ATTACKED.stop:
        raise UserError(
            f"protocol benchmark2024 needs {ATTACKED.stop:,} test images, the split has {len(split.labels):,}: "
            "use protocol full"
        )
    if norm != "Linf" or n is not None:
        wish = f"norm {norm}" if norm != "Linf" else f"n {n}"
        raise UserError(f"protocol benchmark2024 has its own norm and samples, not {wish}: use protocol full")
    return _First(split.images[:IMAGES], split.labels[:IMAGES]), EPS, BATCH_SIZE


def minimum_norm(attempt: Attempt, split: Source) -> dict[str, Any]:
    """Return the field `minimum_norm` of the document: HO-FMN on 128 images."""
    assert isinstance(split, ImageSplit)  # `settings` has seen to it
    tuned_on, attacked, journal = pick(split, TUNED_ON), pick(split, ATTACKED), attempt.journal
    setting = replace(attempt.setting, network=attempt.network, threat=Threat("Linf", HO_FMN_EPS))
    # as many samples as a trial takes: every trial sees the same ones
    rehearsal = Rehearsal(tuned_on, attempt.device, journal.trials(_KEY), lambda trial: journal.add_trial(_KEY, trial))
    tuned = HO_FMN.ready(setting, rehearsal)
    batch = next(attacked.batches(torch.arange(len(attacked)), len(attacked), attempt.device))
    found = tuned.craft(setting, batch).distances
    assert found is not None  # it is a minimum-norm attack
    distances = torch.where(found.isfinite(), found, 0.0).tolist()
    return {
        "attack": HO_FMN.name,
        "parameters": tuned.record(setting),
        "n": len(distances),
        "first_index": ATTACKED.start,
        "threat": {"norm": "Linf", "eps": HO_FMN_EPS},
        "robust_accuracy": accuracy(sum(distance > HO_FMN_EPS for distance in distances), len(distances)),
        "distances": distances,
        "note": NOTE,
    }
