"""Contributing a result: `check` runs, `make_bundle` of them, `merge` a bundle into a leaderboard file."""

from .bundle import make_bundle
from .candidate import Candidate, open_candidates
from .checks import Verdict, check, problems
from .merging import merge
from .verifying import Verified, verify

__all__ = [
    "Candidate",
    "Verdict",
    "Verified",
    "check",
    "make_bundle",
    "merge",
    "open_candidates",
    "problems",
    "verify",
]
