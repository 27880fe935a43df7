"""`apx plugin check`: does a method do what its entry claims?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from .output import json_option, print_json
from .tables import print_table

if TYPE_CHECKING:
    from apx import Variant
    from apx.conformance import Case, Report

_MARKS = {True: "ok", False: "FAILED", None: "-"}


@click.command(name="check")
@click.argument("method")
@click.option(
    "--variant",
    "wanted",
    multiple=True,
    metavar="WORDS",
    help="A variant by its number or its words, such as 2 or 'S filters'; all where absent.",
)
@click.option(
    "--arch", "networks", multiple=True, metavar="NAME", help="plain, residual, depthwise, flatten; all where absent."
)
@json_option
@click.pass_context
def check_command(
    ctx: click.Context, method: str, wanted: tuple[str, ...], networks: tuple[str, ...], as_json: bool
) -> None:
    """Run METHOD on tiny networks and judge each claim of its entry by what was observed.

    Observed by apx itself, never reported by the method: when masks change, what they remove, how they were ranked,
    whether a killed run ends in the same bits. A claim that fails gives exit status 1.

    \b
    Example:
      apx plugin check hydra --variant 'S filters' --arch residual
    """
    from apx import registry
    from apx.conformance import Report, check, implemented_variants

    slug = registry.entry(method).slug
    variants = _chosen(implemented_variants(slug), wanted, slug)
    reports = []
    for number, variant in variants:
        reports.append(check(slug, variants=[variant], networks=networks or None))
        if not as_json:
            _print_cases(number, reports[-1])
    report = Report(slug, tuple(case for one in reports for case in one.cases))
    if as_json:
        print_json(report.document() | {"passed": all(one.passed for one in reports)})
    else:
        _print_sum(report)
    if not all(one.passed for one in reports):
        ctx.exit(1)


def _chosen(variants: list[Variant], wanted: tuple[str, ...], slug: str) -> list[tuple[int, Variant]]:
    """Return the variants that are asked for with their numbers; each word has to be one of the variant's own."""
    numbered = list(enumerate(variants, start=1))
    if not numbered:
        raise UserError(f"{slug} is entry-only: there is no code to check")
    if not wanted:
        return numbered
    found = [(number, one) for number, one in numbered if any(_is(number, one, words) for words in wanted)]
    for words in wanted:
        if not any(_is(number, one, words) for number, one in numbered):
            there = "; ".join(f"{number}: {_label(one)}" for number, one in numbered)
            raise UserError(f"{slug} has no variant '{words}'; it has {there}")
    return found


def _is(number: int, variant: Variant, words: str) -> bool:
    asked = [word for word in re.split(r"[\s,]+", words.casefold()) if word]
    return asked == [str(number)] or (bool(asked) and set(asked) <= set(_label(variant).casefold().split()))


def _label(variant: Variant) -> str:
    words = (variant.structure, variant.granularity, variant.schedule, variant.locality, variant.budget)
    return " ".join(words)


def _print_cases(number: int, report: Report) -> None:
    """Print one variant: claims by networks, then what each network has shown."""
    for case in report.cases:
        click.secho(f"variant {number} ({case.variant}) on {case.network}, {case.seconds:.1f} s", bold=True)
        if case.not_applicable is not None:
            click.echo(f"  not applicable: {case.not_applicable}")
            continue
        rows = [(verdict.claim, _MARKS[verdict.passed], verdict.observed) for verdict in case.verdicts]
        print_table("claim", "verdict", "observed", rows=rows)
        for verdict in case.failed:
            click.echo(f"{verdict.claim} FAILED: claimed {verdict.claimed}")
        click.echo()


def _print_sum(report: Report) -> None:
    judged = [case for case in report.cases if case.not_applicable is None]
    seconds = sum(case.seconds for case in report.cases)
    text = f"{report.method}: {len(judged)} of {len(report.cases)} cases judged in {seconds:.0f} s"
    failures: list[tuple[Case, Any]] = report.failures()
    if failures:
        claims = ", ".join(dict.fromkeys(verdict.claim for _, verdict in failures))
        click.echo(f"{text}; failed: {claims}")
    else:
        click.echo(f"{text}; every claim holds" if judged else f"{text}: nothing was shown")
