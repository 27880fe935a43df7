"""What a conformance check ends with: one case per variant and network, one verdict per claim."""

from dataclasses import dataclass
from typing import Any

from .verdict import Verdict


@dataclass(frozen=True)
class Case:
    """One variant on one network; `not_applicable` says why the network is beyond the variant, if it is."""

    variant: str
    network: str
    verdicts: tuple[Verdict, ...]
    seconds: float
    not_applicable: str | None = None

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The verdicts that failed."""
        return tuple(verdict for verdict in self.verdicts if verdict.passed is False)

    def document(self) -> dict[str, Any]:
        """Return the case as plain JSON values."""
        return {
            "variant": self.variant,
            "network": self.network,
            "not_applicable": self.not_applicable,
            "seconds": round(self.seconds, 3),
            "verdicts": [verdict.document() for verdict in self.verdicts],
        }


@dataclass(frozen=True)
class Report:
    """All cases of one method."""

    method: str
    cases: tuple[Case, ...]

    @property
    def passed(self) -> bool:
        """Whether no claim failed and at least one case could be judged."""
        return not self.failures() and any(case.not_applicable is None for case in self.cases)

    def failures(self) -> list[tuple[Case, Verdict]]:
        """Return every failed verdict with its case."""
        return [(case, verdict) for case in self.cases for verdict in case.failed]

    def document(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {"method": self.method, "passed": self.passed, "cases": [case.document() for case in self.cases]}
