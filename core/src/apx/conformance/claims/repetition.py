"""What comes out a second time: with the same seed, with another one, after being killed; and what is never read."""

from ..data import Guard
from ..trial import Trial
from ..verdict import Verdict


def seed(trial: Trial, again: Trial, other: Trial) -> Verdict:
    """Judge whether the seed, and nothing else, decides: the same one gives the same result, another other masks.

    Args:
        trial: a run.
        again: one with the same seed.
        other: one with another seed.
    """
    claimed = "the same seed gives the same masks and weights, another seed other masks"
    if trial.masks.digest() != again.masks.digest():
        return Verdict("seed", claimed, "the same seed gave other masks", False)
    if not trial.same_result(again):
        return Verdict("seed", claimed, "the same seed gave the same masks and other weights", False)
    if trial.masks.digest() == other.masks.digest():
        return Verdict("seed", claimed, "another seed gave the very same masks", False)
    return Verdict("seed", claimed, "as claimed", True)


def resume(trial: Trial, again: Trial, resumed: Trial | Exception) -> Verdict:
    """Judge whether a run that is killed and resumed ends bitwise as an undisturbed one.

    Args:
        trial: an undisturbed run.
        again: a second one, to tell a result that cannot be reproduced at all from one that resuming changes.
        resumed: the run that was stopped, or how resuming failed.
    """
    claimed = "a run that is killed and resumed ends in the same bits"
    if isinstance(resumed, Exception):
        return Verdict("resume", claimed, f"resuming failed: {type(resumed).__name__}: {resumed}", False)
    if not trial.same_result(again):
        return Verdict("resume", claimed, "undisturbed runs differ as well (see seed)", None)
    if trial.masks.digest() != resumed.masks.digest():
        return Verdict("resume", claimed, "other masks", False)
    if not trial.same_result(resumed):
        return Verdict("resume", claimed, "the same masks, other weights", False)
    passed = True if resumed.stopped else None  # a run without phases offers nothing to stop at
    return Verdict("resume", claimed, f"the same bits after {resumed.stopped} stops", passed)


def test_set(guard: Guard) -> Verdict:
    """Judge whether the test split was left alone."""
    observed = f"read {guard.reads} times" if guard.reads else "never read"
    return Verdict("test set", "the test set is never read during a run", observed, guard.reads == 0)
