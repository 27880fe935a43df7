"""`apx list`: the methods, chosen by any property of their taxonomy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from apx import registry
from apx.registry import Entry, Query

from ..output import json_option, print_json, warn, warn_of, words
from ..tables import natural_width, print_table, terminal_width

F = TypeVar("F", bound=Callable[..., Any])

_FILTERS = {
    "stage": "before, during or after training",
    "schedule": "1S (one-shot), IT (iterative) or n.s.",
    "structure": "US (unstructured) or S (structured)",
    "granularity": "weights, filters, channels, kernels, columns, blocks or layers",
    "locality": "L (local), G (global) or n.s.",
    "criterion": "LWM, SOLWM, RELWM, LIS, HGM, BCS or RANDOM",
    "objective": "NT, AT, KD, CNI, or an objective such as trades",
    "year": "a year or a span: 2020, 2019-2021, 2021-",
    "origin": "survey, baseline or other",
}


def _filters(function: F) -> F:
    for name, values in reversed(_FILTERS.items()):
        function = click.option(f"--{name}", multiple=True, metavar="VALUE", help=values)(function)
    return function


@click.command(name="list")
@_filters
@click.option(
    "--by",
    type=click.Choice(["survey", "implements"], case_sensitive=False),
    default="survey",
    show_default=True,
    help="The block that is asked and shown: the survey's row, or what the code implements.",
)
@click.option("--implemented/--entry-only", default=None, help="Only methods that run, or only those that do not.")
@json_option
def command(by: Any, implemented: bool | None, as_json: bool, **filters: tuple[str, ...]) -> None:
    """List the methods, by any property of their taxonomy.

    Filters combine; a filter given twice accepts either value. Values may be written in any case or by their long
    names. Methods that the survey does not have are judged by what they implement.

    \b
    Example:
      apx list --stage after --structure S
      apx list --criterion "least importance score" --json
    """
    query = Query(**filters, by=by, implemented=implemented)
    chosen = registry.select(registry.entries(), query)
    warn_of(registry.failures())
    if by == "survey" and not _only_labels(query):
        warn("the survey names objectives only as NT, AT, KD, CNI: add --by implements to ask what the code does")
    if as_json:
        print_json([entry.as_dict(by) for entry in chosen])
    elif chosen:
        _print(chosen, query)
    else:
        click.echo("no method is all of that", err=True)


def _only_labels(query: Query) -> bool:
    return all(word in ("NT", "AT", "KD", "CNI", "n.s.") for word in query.objective)


def _print(chosen: list[Entry], query: Query) -> None:
    rows = [_row(entry, query) for entry in chosen]
    for dropped in ((), ("granularity",), ("granularity", "objectives")):  # what a narrow terminal has no room for
        headings = [name for name in rows[0] if name not in dropped]
        cells = [[row[name] for name in headings] for row in rows]
        if natural_width(headings, cells) <= terminal_width():
            break
    print_table(*headings, rows=cells)
    click.echo(f"{len(chosen)} of {len(registry.entries())} methods")


def _row(entry: Entry, query: Query) -> dict[str, str]:
    view = entry.view(query.by)
    return {
        "method": entry.slug,
        "year": str(entry.year),
        "stage": view.stage,
        "sched.": words(view.schedules),
        "struct.": words(view.structures),
        "granularity": words(view.granularities),
        "local.": words(view.localities),
        "criterion": view.criterion,
        "objectives": words(view.objectives),
        "runs": "yes" if entry.implemented else "-",
    }
