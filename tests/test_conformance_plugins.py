"""Every implemented variant of every first-party method does what its entry claims."""

import pytest

from apx.conformance import NETWORKS, Report, check, implemented_variants
from apx.registry import entries

VARIANTS = [
    pytest.param(found.slug, number, id=f"{found.slug}-{number}")
    for found in entries()
    if found.distribution.startswith("apx-")
    for number in range(len(found.implemented_variants))
]


def explain(report: Report) -> str:
    """Say which claim failed where."""
    return "\n".join(
        f"{case.variant} on {case.network}: {verdict.claim}: claimed {verdict.claimed}, observed {verdict.observed}"
        for case, verdict in report.failures()
    )


@pytest.mark.parametrize(("slug", "number"), VARIANTS)
def test_each_variant_conforms_on_one_network(slug: str, number: int) -> None:
    variant = implemented_variants(slug)[number]
    networks = [name for name in NETWORKS if variant.structure == "US" or name != "depthwise"]  # S cannot couple it
    report = check(slug, variants=[variant], networks=[networks[number % len(networks)]])
    assert report.passed, explain(report)


@pytest.mark.slow
@pytest.mark.parametrize(("slug", "number"), VARIANTS)
def test_each_variant_conforms_on_all_networks(slug: str, number: int) -> None:
    report = check(slug, variants=[implemented_variants(slug)[number]])
    assert report.passed, explain(report)
