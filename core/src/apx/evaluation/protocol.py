"""The one evaluation protocol: clean pass, checks, attack, document."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .autoattack import STANDARD, check_classes, run_autoattack
from .autoattack import work as autoattack_work
from .checks import network_warnings, sample_warnings
from .document import Target, build
from .gradient import fgsm_work, pgd_work, run_fgsm, run_pgd
from .network import Logits, check_logits, device_of, ready_for_attack
from .offered import attack_named, offered_work, run_offered
from .outcome import Attempt, Outcome
from .progress import Meter, Report, Work
from .samples import Samples, Source, draw


def evaluate(
    module: nn.Module,
    split: Source,
    *,
    attack: str,
    eps: float,
    steps: int = 20,
    alpha: float | None = None,
    n: int | None = None,
    batch_size: int = 128,
    device: torch.device | str | None = None,
    seed: int = 0,
    target: Target | Mapping[str, Any] | None = None,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Evaluate a network on a split or a loader and return the results document (schema `results`).

    The network is attacked in eval mode with frozen parameters on `device`; mode, parameters, device and the
    global random state are restored. Misclassified samples are not attacked and count as not robust.

    Args:
        module: maps images [B, C, H, W] in [0, 1] to logits [B, classes]; normalisation is inside.
        split: a split of a dataset, or batches of (images, labels), uint8 or float in [0, 1].
        attack: `clean`, `fgsm`, `pgd`, `autoattack` (standard version, 4 classes at least), or the name of an attack
            that a plugin offers by the hook `apx_attacks`.
        eps: Linf radius for inputs in [0, 1], e.g. 8 / 255; recorded, not used, for `clean`.
        steps: steps of PGD; a plugin's attack gets them and `alpha` too, if it takes them.
        alpha: step size of PGD; eps / 4 where None.
        n: number of samples, all where None; see `samples.draw` for which.
        batch_size: samples per pass; the random starts of AutoAttack depend on it, those of PGD do not.
        device: where to run; where the module is, if None.
        seed: seed of all random starts.
        target: what the document says of the model; see `Target`.
        progress: called with (done, total, still robust); done and total count passes of one image.

    Raises:
        UserError: unknown attack, a setting out of range, unusable samples or outputs, AutoAttack with fewer than 4
            classes, a plugin's attack that returns anything but images within `eps` (Linf) and in [0, 1].
    """
    _check_settings(attack, eps=eps, steps=steps, alpha=alpha, batch_size=batch_size, seed=seed)
    offered = attack_named(attack)
    started = time.perf_counter()
    samples = draw(split, n)
    where = _device(device, module)
    was_training = module.training
    with ready_for_attack(module, where) as network:
        logits = _clean_pass(network, samples, batch_size, where)
        attempt = _attempt(network, samples, logits, eps, batch_size, seed, where)
        attempt.meter = Meter(progress, len(samples) * _cost(attack, steps, logits.shape[1]))
        attempt.meter.robust = int(attempt.outcome.correct.sum())
        network.on_pass = attempt.meter.passed
        if was_training:
            attempt.outcome.warnings.append("the model was in train mode: it was evaluated in eval mode")
        step_size = eps / 4 if alpha is None else alpha
        if offered is not None:
            run_offered(attempt, attack, offered, steps=steps, alpha=step_size)
        else:
            _attack(attempt, attack, steps=steps, alpha=step_size, classes=logits.shape[1])
    if attempt.outcome.rejected:
        attempt.outcome.warnings.append(
            f"{attempt.outcome.rejected} images left the threat model and did not count: the attack is broken"
        )
    name = type(module).__name__
    return build(attempt, target or {}, default_name=name, seconds=time.perf_counter() - started)


def _check_settings(attack: str, *, eps: float, steps: int, alpha: float | None, batch_size: int, seed: int) -> None:
    if not (0 <= eps <= 1 if attack == "clean" else 0 < eps <= 1):
        raise UserError(f"eps {eps:g} is outside (0, 1]: images lie in [0, 1], 8/255 is usual for CIFAR-10")
    if steps < 1:
        raise UserError(f"PGD cannot take {steps} steps: steps must be at least 1")
    if alpha is not None and alpha <= 0:
        raise UserError(f"PGD's step size cannot be {alpha:g}: alpha must be above 0")
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} is too small: it must be at least 1")
    if seed < 0:
        raise UserError(f"seed {seed} is negative: seeds start at 0")


def _device(device: torch.device | str | None, module: nn.Module) -> torch.device:
    where = device_of(module) if device is None else torch.device(device)
    if where.type == "cuda" and where.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return where


@torch.no_grad()
def _clean_pass(network: Logits, samples: Samples, batch_size: int, device: torch.device) -> Tensor:
    """Return the logits of all samples [n, classes], on the CPU."""
    parts = []
    for batch in samples.batches(torch.arange(len(samples)), batch_size, device):
        logits = network(batch.x)
        check_logits(logits, batch.y)
        parts.append(logits.cpu())
    return torch.cat(parts)


def _attempt(
    network: Logits,
    samples: Samples,
    logits: Tensor,
    eps: float,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Attempt:
    predictions = logits.argmax(dim=1)
    outcome = Outcome(predictions, predictions == samples.labels, [None] * len(samples))
    first = next(samples.batches(torch.arange(len(samples)), batch_size, device))
    outcome.warnings += sample_warnings(samples)
    outcome.warnings += network_warnings(network, first, logits[: len(first.y)].to(device))
    return Attempt(network, samples, outcome, Meter(None, 1), eps, batch_size, seed, device)


def _cost(attack: str, steps: int, classes: int) -> int:
    """Return the forward passes per image that the attack needs at most."""
    works: dict[str, list[Work]] = {
        "clean": [Work(1, 1)],
        "fgsm": [fgsm_work()],
        "pgd": [pgd_work(steps)],
        "autoattack": [autoattack_work(classes)[name] for name in STANDARD],
    }
    return sum(work.cost for work in works.get(attack, [offered_work(steps)]))


def _attack(attempt: Attempt, attack: str, *, steps: int, alpha: float, classes: int) -> None:
    match attack:
        case "clean":
            attempt.meter.skip(len(attempt.samples), Work(1, 1))
        case "fgsm":
            run_fgsm(attempt)
        case "pgd":
            run_pgd(attempt, steps=steps, alpha=alpha)
        case "autoattack":
            check_classes(classes)
            run_autoattack(attempt, classes)
