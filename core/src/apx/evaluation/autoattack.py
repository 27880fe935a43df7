"""AutoAttack (Croce & Hein, ICML 2020) through `pyautoattack`, one attack and one batch at a time.

The package's own loop does not tell which attack broke a sample, and its resume is broken. Here every call
gets a fresh `AutoAttack` object, the seed, and a batch of samples that are still robust; what counts is our
prediction on the images that come back. With the same seed and batch size the images are those of the package's
`run_standard_evaluation`, which seeds each call alike.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .outcome import Attempt
from .progress import Work
from .samples import Batch

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of the standard version, in their order."""

_TARGETS = 9  # the standard version's; fewer where the model has fewer classes
_STEPS = 100
_QUERIES = 5000


def work(classes: int) -> dict[str, Work]:
    """Return the work of each attack; samples that fall early need less."""
    targets = _target_classes(classes)
    return {
        "apgd-ce": Work(passes=_STEPS + 3, weight=3),
        "apgd-t": Work(passes=targets * (_STEPS + 2) + 2, weight=3),
        "fab-t": Work(passes=targets * (2 * _STEPS + 3) + 2, weight=2),  # every other pass has a backward
        "square": Work(passes=_QUERIES + 2, weight=1),
    }


def check_classes(classes: int) -> None:
    """Refuse a model that AutoAttack cannot attack.

    Raises:
        UserError: fewer than 4 classes; the targeted DLR loss divides by the third and fourth largest logit.
    """
    if classes < 4:
        raise UserError(
            "AutoAttack needs at least 4 classes (its targeted DLR loss ranks four logits), "
            f"the model has {classes}: use attack pgd"
        )


def run_autoattack(attempt: Attempt, classes: int) -> None:
    """Run the standard version; only samples that are still robust go on to the next attack."""
    check_classes(classes)
    costs = work(classes)
    with _collected_warnings() as heard:
        for name in STANDARD:
            attempt.outcome.attacks.append({"name": name, "parameters": _parameters(attempt, name, classes)})
            rows = attempt.outcome.robust.nonzero()[:, 0]
            attempt.meter.skip(len(attempt.samples) - len(rows), costs[name])
            for batch in attempt.samples.batches(rows, attempt.batch_size, attempt.device):
                attempt.meter.start(len(batch.rows), costs[name])
                attempt.judge(name, batch, perturb(attempt, name, batch, classes))
                attempt.meter.finish()
    attempt.outcome.warnings += heard


def perturb(attempt: Attempt, name: str, batch: Batch, classes: int) -> Tensor:
    """Return what one attack makes of one batch, [B, C, H, W]: the clean image where it found nothing."""
    from pyautoattack import AutoAttack

    suite = AutoAttack(
        attempt.network,
        version="standard",
        norm="Linf",
        eps=attempt.eps,
        seed=attempt.seed,
        device=attempt.device,
    )
    targets = _target_classes(classes)
    suite.apgd.loss = "ce"
    suite.apgd_targeted.n_target_classes = targets
    suite.fab.targeted, suite.fab.n_target_classes = True, targets
    attacks = {
        "apgd-ce": suite.apgd,
        "apgd-t": suite.apgd_targeted,
        "fab-t": suite.fab,
        "square": suite.square,
    }
    with torch.no_grad():  # the attacks enable gradients where they take them
        return attacks[name].perturb(batch.x.clone(), batch.y.clone()).detach()


def _target_classes(classes: int) -> int:
    return min(_TARGETS, classes - 1)


def _parameters(attempt: Attempt, name: str, classes: int) -> dict[str, Any]:
    common = {"version": "standard", "eps": attempt.eps, "restarts": 1}
    if name == "square":
        return {**common, "queries": _QUERIES, "p_init": 0.8}
    targets = {} if name == "apgd-ce" else {"target_classes": _target_classes(classes)}
    return {**common, "steps": _STEPS, **targets}


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Catch what the package warns of (zero gradients), once, in place of lines on the terminal."""
    logger = logging.getLogger("auto-attack")
    heard: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "zero gradient" in record.getMessage() and not heard:
                heard.append("AutoAttack met points with zero gradient: the result may be too optimistic")

    collector, propagate = Collector(logging.WARNING), logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
