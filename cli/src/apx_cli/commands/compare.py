"""`apx compare`: methods side by side."""

from __future__ import annotations

from typing import Any

import click

from apx import registry
from apx.registry import Entry

from ..output import json_option, print_json, warn_of, words
from ..tables import print_table


@click.command(name="compare")
@click.argument("methods", nargs=-1, required=True, metavar="METHOD...")
@click.option(
    "--by",
    type=click.Choice(["survey", "implements"], case_sensitive=False),
    default="survey",
    show_default=True,
    help="The block that is compared: the survey's row, or what the code implements.",
)
@json_option
def command(methods: tuple[str, ...], by: Any, as_json: bool) -> None:
    """Put methods side by side; a star marks the properties in which they differ.

    \b
    Example:
      apx compare hydra harp twinrep
    """
    entries = list({entry.slug: entry for entry in map(registry.entry, methods)}.values())
    warn_of(registry.failures())
    if as_json:
        print_json([entry.as_dict(by) for entry in entries])
        return
    properties = [_properties(entry, by) for entry in entries]
    rows = []
    for name in properties[0]:
        values = [one[name] for one in properties]
        rows.append((f"{name} *" if len(set(values)) > 1 else name, *values))
    print_table("", *(entry.slug for entry in entries), rows=rows)


def _properties(entry: Entry, by: Any) -> dict[str, str]:
    view = entry.view(by)
    return {
        "name": entry.name,
        "year": str(entry.year),
        "origin": entry.origin,
        "block": "survey" if view is entry.survey else "implements",
        "stage": view.stage,
        "schedule": words(view.schedules),
        "structure": words(view.structures),
        "granularity": words(view.granularities),
        "locality": words(view.localities),
        "criterion": view.criterion,
        "objectives": words(view.objectives),
        "runs": "yes" if entry.implemented else "entry only",
        "code": (entry.document["code"] or {}).get("url", "none"),
    }
