"""Before, during or after training: in which phases the masks change."""

from collections.abc import Sequence
from itertools import pairwise

from ..phases import kind
from ..recorder import Observation
from ..trial import Trial
from ..verdict import Verdict

_CLAIMED = {
    "before": "before: no mask bit changes once train has started",
    "during": "during: mask bits change between the first and the last step of train",
    "after": "after: no mask bit changes before pretrain has ended or after finetune has started",
}


def stage(trial: Trial) -> Verdict:
    """Judge the stage: where the digest of the masks changes.

    before: never once `train` has started. during: between the first and the last step of `train`. after: never
    before `pretrain` has ended, never after `finetune` has started.
    """
    seen = [s for s in trial.observations if s.own]
    claimed = trial.subject.stage()
    changed = list(dict.fromkeys(kind(late.phase) or "no phase" for _, late in changes(seen)))
    observed = f"masks changed in: {', '.join(changed) or 'nothing'}"
    judge = {"before": _before, "during": _during, "after": _after}[claimed]
    return Verdict("stage", _CLAIMED[claimed], observed, judge(seen))


def changes(seen: Sequence[Observation]) -> list[tuple[Observation, Observation]]:
    """Return the neighbouring observations between which the masks changed."""
    return [pair for pair in pairwise(seen) if pair[0].digest != pair[1].digest]


def _before(seen: Sequence[Observation]) -> bool:
    return bool(changes(seen)) and not changes(_from(seen, "train"))


def _during(seen: Sequence[Observation]) -> bool:
    steps = [number for number, s in enumerate(seen) if s.moment == "step" and kind(s.phase) == "train"]
    return bool(steps) and bool(changes(seen[steps[0] : steps[-1] + 1]))


def _after(seen: Sequence[Observation]) -> bool:
    ends = [number for number, s in enumerate(seen) if s.moment == "end" and kind(s.phase) == "pretrain"]
    if not ends:
        return False
    return bool(changes(seen)) and not changes(seen[: ends[-1] + 1]) and not changes(_from(seen, "finetune"))


def _from(seen: Sequence[Observation], phase: str) -> Sequence[Observation]:
    """Return what was seen from the first start of a phase on, nothing where there was none (RST never trains)."""
    starts = [number for number, s in enumerate(seen) if s.moment == "start" and kind(s.phase) == phase]
    return seen[starts[0] :] if starts else ()
