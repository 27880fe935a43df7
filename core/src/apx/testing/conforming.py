"""The conformance check as an assertion."""

from collections.abc import Iterable, Sequence

from ..conformance import Report, check
from ..method import Method, Variant


def assert_conforms(
    method: str | type[Method],
    *,
    variants: Sequence[Variant] | None = None,
    networks: Iterable[str] | None = None,
) -> None:
    """Fail, with what was claimed and what was observed, unless a method does what its entry claims.

    Args:
        method: a method's slug, or its class.
        variants: which variants; all that its entry marks as implemented where None.
        networks: names from `apx.conformance.NETWORKS`; all four where None.

    Raises:
        AssertionError: a claim failed, or no network could be judged.
        UserError: an unknown method or network.
    """
    report = check(method, variants=variants, networks=networks)
    if not report.passed:
        raise AssertionError(_explain(report))


def _explain(report: Report) -> str:
    """Say which claims failed where; where none could be judged, why."""
    lines = [f"{report.method} does not do what it claims:"]
    for case, verdict in report.failures():
        lines += [
            f"  {verdict.claim}, variant {case.variant}, network {case.network}",
            f"    claimed:  {verdict.claimed}",
            f"    observed: {verdict.observed}",
        ]
    if not report.failures():
        lines += [f"  network {case.network}: not applicable: {case.not_applicable}" for case in report.cases]
    return "\n".join(lines)
