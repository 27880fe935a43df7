"""`check`: run a method's variants on the tiny networks and judge every claim."""

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..method import Method, Variant
from . import claims
from .data import ForbiddenReadError, Guard
from .networks import NETWORKS
from .report import Case, Report
from .subject import Subject
from .trial import Trial, perform, perform_interrupted, stops_for
from .verdict import Verdict

_SEED, _OTHER = 0, 1


def check(
    method: str | type[Method],
    *,
    variants: Sequence[Variant] | None = None,
    networks: Iterable[str] | None = None,
) -> Report:
    """Check a method against what it claims; a few seconds per variant and network.

    Args:
        method: a method's slug, or its class.
        variants: which variants; all that its entry marks as implemented where None.
        networks: names from `NETWORKS`; all four where None.

    Raises:
        UserError: an unknown method or network, or a class whose slug has no entry and no variants are given.
    """
    from ..registry import load_method

    found = load_method(method) if isinstance(method, str) else method
    chosen = implemented_variants(found.slug) if variants is None else list(variants)
    names = list(NETWORKS) if networks is None else list(networks)
    for name in names:
        if name not in NETWORKS:
            raise UserError(f"unknown network '{name}'; choose from {', '.join(NETWORKS)}")
    cases = [_case(Subject.of(found, variant, name)) for variant in chosen for name in names]
    return Report(getattr(found, "slug", found.__name__), tuple(cases))


def implemented_variants(slug: str) -> list[Variant]:
    """Return the variants that a method's entry marks as implemented.

    Raises:
        UserError: there is no such entry.
    """
    from ..registry import entry

    found = entry(slug).document["implements"]["variants"]
    return [_variant(document) for document in found if document["status"] == "implemented"]


def _variant(document: Mapping[str, Any]) -> Variant:
    known = {name: document[name] for name in Variant.__dataclass_fields__ if name in document}
    lists = {name: tuple(document.get(name, ())) for name in ("excluded_layers", "phases")}
    return Variant(**(known | lists))


def _case(subject: Subject) -> Case:
    started = time.perf_counter()
    reason: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    try:
        subject.build_network(_SEED)
    except UserError as error:
        reason = str(error)
    else:
        with tempfile.TemporaryDirectory() as folder:
            verdicts = _judge(subject, Path(folder))
    return Case(subject.label(), subject.network, verdicts, time.perf_counter() - started, reason)


def _judge(subject: Subject, folder: Path) -> tuple[Verdict, ...]:
    guard = Guard()
    trial = _first(subject, folder, guard)
    open_guard = Guard(strict=False)  # what was read is known by now; the other claims are judged all the same
    other = perform(subject, folder / "other", seed=_OTHER, guard=open_guard)
    resumed = _resume(subject, folder, trial, open_guard)
    if isinstance(resumed, Trial) and trial.same_result(resumed):
        again = resumed  # it had the same seed, and a directory of its own
    else:
        again = perform(subject, folder / "again", seed=_SEED, guard=open_guard)
    return (
        claims.schedule(trial),
        claims.stage(trial),
        claims.locality(trial, other),
        claims.granularity(trial),
        claims.sparsity(trial),
        claims.excluded(trial),
        claims.masked_zero(trial),
        claims.dead_batch_norm(trial),
        claims.reported(trial),
        claims.seed(trial, again, other),
        claims.resume(trial, again, resumed),
        claims.test_set(guard),
    )


def _first(subject: Subject, folder: Path, guard: Guard) -> Trial:
    """Run with a test split that refuses; where that ended the run, run again with one that does not."""
    try:
        return perform(subject, folder / "strict", seed=_SEED, guard=guard)
    except ForbiddenReadError:
        return perform(subject, folder / "open", seed=_SEED, guard=Guard(strict=False))


def _resume(subject: Subject, folder: Path, trial: Trial, guard: Guard) -> Trial | Exception:
    try:
        return perform_interrupted(subject, folder / "resumed", stops_for(trial), seed=_SEED, guard=guard)
    except Exception as error:  # a stranger's method may fail in any way for what it has forgotten
        return error
