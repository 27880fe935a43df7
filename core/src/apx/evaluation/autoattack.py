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
from torch import Tensor, nn

from ..attacks import frozen
from ..errors import UserError
from .network import Logits
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
    suite = _suite(attempt.network, eps=attempt.eps, seed=attempt.seed, device=attempt.device, classes=classes)
    with torch.no_grad():  # the attacks enable gradients where they take them
        return suite[name].perturb(batch.x.clone(), batch.y.clone()).detach()


@torch.no_grad()
def autoattack(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int = 0) -> Tensor:
    """Return x_adv of the standard version as one attack, by the contract of the hook `apx_attacks`.

    Each of the four attacks meets the images that the earlier ones left robust. `evaluate` does not go this way, since
    it tells which attack broke which image.

    Args:
        model: maps images to logits [B, classes]; parameters, mode and the global random state are restored.
        x: images, float [B, C, H, W] in [0, 1].
        y: labels, int64 [B].
        eps: Linf radius.
        seed: seed of all random starts.

    Raises:
        UserError: fewer than 4 classes.
    """
    x_adv = x.clone()
    with frozen(model), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        network = Logits(model).eval()
        classes = network(x[:1]).shape[1]
        check_classes(classes)
        for name in STANDARD:
            left = (network(x_adv).argmax(dim=1) == y).nonzero()[:, 0]
            if len(left):
                suite = _suite(network, eps=eps, seed=seed, device=x.device, classes=classes)
                x_adv[left] = suite[name].perturb(x[left], y[left])
    return x_adv


def _suite(network: Logits, *, eps: float, seed: int, device: torch.device, classes: int) -> dict[str, Any]:
    """Return the attacks of the standard version, made afresh and set up for `classes`."""
    from pyautoattack import AutoAttack

    suite = AutoAttack(network, version="standard", norm="Linf", eps=eps, seed=seed, device=device)
    targets = _target_classes(classes)
    suite.apgd.loss = "ce"
    suite.apgd_targeted.n_target_classes = targets
    suite.fab.targeted, suite.fab.n_target_classes = True, targets
    return {"apgd-ce": suite.apgd, "apgd-t": suite.apgd_targeted, "fab-t": suite.fab, "square": suite.square}


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
