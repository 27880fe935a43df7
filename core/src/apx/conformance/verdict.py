"""The judgement on one claim."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """What was claimed, what core observed, and whether they agree; `passed` is None where nothing can be judged."""

    claim: str
    claimed: str
    observed: str
    passed: bool | None

    @property
    def outcome(self) -> str:
        """`passed`, `failed` or `not judged`."""
        return {True: "passed", False: "failed", None: "not judged"}[self.passed]

    def document(self) -> dict[str, Any]:
        """Return the verdict as plain JSON values."""
        return asdict(self)


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"
