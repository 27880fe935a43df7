"""The one way to evaluate: clean pass, checks, attacks one after another, document."""

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..heap import kept_heap
from ..lookup import choose
from . import benchmark2024
from .attack import Attack, Rehearsal, Setting
from .attempt import Attempt
from .catalogue import PROTOCOLS, attacks_of
from .checks import check_network
from .document import Circumstances, Target, build, device_name, versions
from .gradient import Clean
from .journal import Journal, digest, tensor_digest
from .memory import within_memory
from .network import Logits, check_logits, device_of, ready_for_attack
from .norms import ORDERS
from .outcome import Outcome
from .prepared import prepare as prepared
from .progress import Meter, Report
from .samples import Samples, Source, draw, tuning_samples
from .sanity import sanity
from .sanity import work as sanity_work
from .threat import Threat


def evaluate(
    module: nn.Module,
    split: Source,
    *,
    attack: str | None = None,
    protocol: str | None = None,
    eps: float,
    norm: str = "Linf",
    steps: int | None = None,
    alpha: float | None = None,
    parameters: Mapping[str, Any] | None = None,
    n: int | None = None,
    batch_size: int = 128,
    device: torch.device | str | None = None,
    seed: int = 0,
    precision: str = "fp32",
    prepare: bool = True,
    source: nn.Module | None = None,
    tuning: Source | None = None,
    classes: int | None = None,
    target: Target | Mapping[str, Any] | None = None,
    progress: Report | None = None,
    journal: Journal | None = None,
) -> dict[str, Any]:
    """Evaluate a network on a split or a loader and return the results document (schema `results`).

    The network is attacked in eval mode with frozen parameters on `device`; mode, parameters, device and the global
    random state are restored. Misclassified samples are not attacked and count as not robust. Attacks see a prepared
    copy of the network (`apx.evaluation.prepared`); an adversarial example counts if it misleads the network itself.

    Args:
        module: maps images [B, C, H, W] in [0, 1] to logits [B, classes]; normalisation is inside.
        split: a split of a dataset, or batches of (images, labels), uint8 or float in [0, 1].
        attack: one of `ATTACKS`, or the name of an attack that a plugin offers by the hook `apx_attacks`.
        protocol: one of `PROTOCOLS`, in place of an attack.
        eps: radius for inputs in [0, 1], e.g. 8 / 255; recorded, not used, for `clean`.
        norm: of the threat: Linf, L2; minimum-norm attacks know L1 and L0 too.
        steps, alpha: parameters of that name, of an attack that has them.
        parameters: further parameters of the attack, as `restarts` of `pgd`.
        n: number of samples, all where None; see `samples.draw` for which.
        batch_size: samples per pass; the random starts of AutoAttack depend on it, those of PGD do not.
        device: where to run; where the module is, if None.
        seed: seed of all random starts.
        precision: `fp32`, or `bf16` in which the attacked copy then computes; verdicts stay in float32.
        prepare: False attacks the network as it is.
        source: attack this network and show the images to `module`: a transfer attack.
        tuning: where attacks are tuned; the samples of `split` that are not evaluated, if None.
        classes: how many classes the model should have; not checked where None.
        target: what the document says of the model; see `Target`.
        progress: called with (done, total, still robust); done and total count passes of one image.
        journal: where finished batches are recorded, so that a killed evaluation goes on; nowhere if None.

    Raises:
        UserError: unknown names, a setting out of range, unusable samples or outputs, an attack that is not made for
            the threat or the number of classes, nothing to tune on, a plugin's attack that breaks its contract.
    """
    if protocol == "benchmark2024":
        split, eps, batch_size = benchmark2024.settings(split, norm=norm, n=n)
    shortcuts = {name: value for name, value in (("steps", steps), ("alpha", alpha)) if value is not None}
    attacks = attacks_of(attack, protocol, {**shortcuts, **(parameters or {})})
    threat = _threat(norm, eps, attacks)
    _check_settings(batch_size=batch_size, seed=seed, precision=precision, prepare=prepare)
    started, was_training = time.perf_counter(), module.training
    samples, journal, where = draw(split, n), journal or Journal(None), _device(device, module)
    rehearsal = Rehearsal(tuning_samples(tuning, samples, split), where)
    with kept_heap(), ready_for_attack(module, where) as network:
        logits, fitting = _clean_pass(network, samples, batch_size, where, classes)
        attacked, steps_done = _attacked(network, source, samples, where, precision, prepare)
        setting = Setting(attacked, threat, seed, _classes_of(attacked, samples, where))
        outcome = Outcome.of(logits, samples.labels)
        attempt = Attempt(network, setting, source is not None, samples, outcome, fitting, where, journal, rehearsal)
        _warn(attempt, logits, was_training=was_training, asked_batch=batch_size)
        for one in attacks:
            one.check(threat, setting.classes)
            outcome.providers |= one.provider()
        how = {"protocol": protocol or "apx", "precision": precision, "prepare": prepare}
        journal.open(_determines(attempt, module, source, attacks, how))
        checked = protocol is not None and PROTOCOLS[protocol].sanity
        _count_work(attempt, attacks, progress, checked=checked)
        for position, one in enumerate(attacks):
            attempt.run(one, position)
        parts: dict[str, Any] = {"sanity": sanity(attempt)} if checked else {}
        if protocol == "benchmark2024":
            parts["minimum_norm"] = benchmark2024.minimum_norm(attempt, split)
    if outcome.rejected:
        outcome.warnings.add("rejected", outcome.rejected)
    if source is not None:
        parts["source"] = (target or {}).get("source", type(source).__name__)
    circumstances = Circumstances(protocol or "apx", threat, precision, steps_done, parts)
    seconds = time.perf_counter() - started + journal.earlier
    return build(attempt, circumstances, target or {}, default_name=type(module).__name__, seconds=seconds)


def _threat(norm: str, eps: float, attacks: Sequence[Attack]) -> Threat:
    choose(ORDERS, norm, "norm")
    clean = all(isinstance(attack, Clean) for attack in attacks)
    if norm == "Linf" and not (0 <= eps <= 1 if clean else 0 < eps <= 1):
        raise UserError(f"eps {eps:g} is outside (0, 1]: images lie in [0, 1], 8/255 is usual for CIFAR-10")
    if not (eps >= 0 if clean else eps > 0):
        raise UserError(f"eps {eps:g} is no radius: it must be above 0, in {norm} 0.5 is usual for CIFAR-10")
    return Threat(norm, float(eps))


def _check_settings(*, batch_size: int, seed: int, precision: str, prepare: bool) -> None:
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} is too small: it must be at least 1")
    if seed < 0:
        raise UserError(f"seed {seed} is negative: seeds start at 0")
    if precision not in ("fp32", "bf16"):
        raise UserError(f"unknown precision '{precision}': choose fp32 or bf16")
    if precision == "bf16" and not prepare:
        raise UserError("precision bf16 is of the prepared network: prepare it, or choose fp32")


def _device(device: torch.device | str | None, module: nn.Module) -> torch.device:
    where = device_of(module) if device is None else torch.device(device)
    if where.type == "cuda" and where.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return where


@torch.no_grad()
def _clean_pass(
    network: Logits, samples: Samples, batch_size: int, device: torch.device, classes: int | None
) -> tuple[Tensor, int]:
    """Return the logits of all samples [n, classes], on the CPU, and the batch size that fits into memory."""

    def logits_of(rows: Tensor) -> Tensor:
        batch = next(samples.batches(rows, len(rows), device))
        logits = network(batch.x)
        check_logits(logits, batch.y)
        if classes is not None and logits.shape[1] != classes:
            raise UserError(
                f"the model has {logits.shape[1]} outputs, the data {classes} classes: they do not belong together"
            )
        return logits.cpu()

    parts, left = [], torch.arange(len(samples))
    while len(left):
        part, batch_size = within_memory(logits_of, left, batch_size, device)
        parts.append(part)
        left = left[len(part) :]
    return torch.cat(parts), batch_size


def _attacked(
    network: Logits,
    source: nn.Module | None,
    samples: Samples,
    device: torch.device,
    precision: str,
    prepare: bool,
) -> tuple[Logits, tuple[str, ...] | None]:
    """Return the network that attacks see, and how it was prepared."""
    if not prepare and source is None:
        return network, None
    example = next(samples.batches(torch.arange(min(8, len(samples))), 8, device)).x
    origin = network.network if source is None else source
    if not prepare:
        return Logits(copy.deepcopy(origin).to(device).requires_grad_(False)).eval(), None
    made = prepared(origin, example, precision=precision, device=device)
    return Logits(made.module).eval(), made.steps


@torch.no_grad()
def _classes_of(network: Logits, samples: Samples, device: torch.device) -> int:
    batch = next(samples.batches(torch.arange(1), 1, device))
    logits = network(batch.x)
    check_logits(logits, batch.y)
    return logits.shape[1]


def _warn(attempt: Attempt, logits: Tensor, *, was_training: bool, asked_batch: int) -> None:
    """Warn of what makes the result doubtful, before any attack."""
    warnings, samples = attempt.outcome.warnings, attempt.samples
    if not samples.complete:
        warnings.add("partial", len(samples))
    if samples.clipped:
        warnings.add("outside-the-box", samples.clipped)
    if was_training:
        warnings.add("train-mode")

    def check(rows: Tensor) -> None:
        first = next(samples.batches(rows, len(rows), attempt.device))
        check_network(warnings, attempt.network, first, logits[rows].to(attempt.device))

    every = torch.arange(len(samples))
    _, attempt.batch_size = within_memory(check, every, attempt.batch_size, attempt.device)
    if attempt.batch_size < asked_batch:
        warnings.add("out-of-memory", attempt.batch_size)


def _count_work(attempt: Attempt, attacks: Sequence[Attack], progress: Report | None, *, checked: bool) -> None:
    """Set up the meter: every attack on every sample, its tuning, the checks of `sanity`."""
    classes, n = attempt.setting.classes, len(attempt.samples)
    total = sum(n * attack.work(classes).cost + attack.rehearsal().cost for attack in attacks)
    attempt.meter = Meter(progress, total + checked * sanity_work(n).cost)
    attempt.meter.robust = int(attempt.outcome.correct.sum())
    for network in {attempt.network, attempt.setting.network}:
        network.on_pass = attempt.meter.passed


def _determines(
    attempt: Attempt,
    module: nn.Module,
    source: nn.Module | None,
    attacks: Sequence[Attack],
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all that determines the result, for the journal's name."""
    samples, tuned_on = attempt.samples, attempt.rehearsal.samples
    return {
        "model": digest(module),
        "source": None if source is None else digest(source),
        "samples": tensor_digest(samples.images, samples.labels, samples.indices),
        "tuning": None if tuned_on is None else tensor_digest(tuned_on.images),
        "attacks": [(attack.name, attack.record(attempt.setting)) for attack in attacks],
        "threat": vars(attempt.setting.threat),
        "seed": attempt.setting.seed,
        "batch_size": attempt.batch_size,
        "device": device_name(attempt.device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        **how,
    }
