"""One-shot or iterative: how often the density falls, and what is trained in between."""

from collections.abc import Iterable

from ..phases import kind
from ..recorder import Observation
from ..trial import Trial
from ..verdict import Verdict, percent

_MOVING = ("learned", "searched")  # budgets whose rates, and with them the density, arise while pruning


def schedule(trial: Trial) -> Verdict:
    """Judge the schedule.

    1S: the density falls from dense to its final value in one transition, and nothing trains at a density between
    (which weights are kept may move; while a pruning phase learns or searches its rates, the density may as well).
    IT: at least two densities below 1, and training between them. Before training there may be none: there a pruning
    phase that starts from the sparser network counts, and masks that a pruning phase sets on its way.
    """
    if trial.subject.variant.schedule == "1S":
        return _one_shot(trial)
    return _iterative(trial)


def _one_shot(trial: Trial) -> Verdict:
    seen = [s for s in trial.observations if s.own]
    if trial.subject.variant.budget in _MOVING:
        seen = [s for s in seen if kind(s.phase) != "prune"]
    path = _path(seen)
    final = trial.observations[-1].kept
    between = {s.kept for s in trial.observations if s.moment == "step" and kind(s.phase) != "prune"}
    between -= {trial.observations[-1].total, final}
    passed = len(path) == 2 and path[0] == seen[0].total and not between
    observed = " -> ".join(percent(kept / seen[0].total) for kept in path)
    aside = "; a copy was trained at another density" if between and len(path) == 2 else ""
    return Verdict("schedule", "1S: one fall of the density", f"density {observed}{aside}", passed)


def _iterative(trial: Trial) -> Verdict:
    seen = [s for s in trial.observations if s.own]
    path = _path(seen)
    final, total = seen[-1].kept, seen[-1].total
    sparse = {kept for kept in path if kept < total}
    between = {s.kept for s in seen if s.moment == "step"} & sparse - {final}
    if trial.subject.stage() == "before":
        pruning = [s for s in seen if kind(s.phase) == "prune" and s.moment in ("start", "masks")]
        between |= {s.kept for s in pruning} & sparse - {final}
    observed = " -> ".join(percent(kept / total) for kept in path[:6]) + (" -> ..." if len(path) > 6 else "")
    between_text = ", ".join(percent(kept / total) for kept in sorted(between, reverse=True)[:5]) or "none"
    return Verdict(
        "schedule",
        "IT: at least two densities below 1 with training, or before training scoring, in between",
        f"density {observed}; worked on in between: {between_text}",
        len(sparse) >= 2 and bool(between),
    )


def _path(seen: Iterable[Observation]) -> list[int]:
    """Return the counts of kept weights in the order they came, without repetitions."""
    path: list[int] = []
    for observation in seen:
        if not path or path[-1] != observation.kept:
            path.append(observation.kept)
    return path
