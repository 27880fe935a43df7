"""`apx show`: one method with both of its blocks, where and why they differ, and the paper preset's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from apx import registry
from apx.registry import Entry

from ..output import json_option, print_json, say, setting_value, warn_of, words
from ..tables import print_table


@click.command(name="show")
@click.argument("method")
@json_option
def command(method: str, as_json: bool) -> None:
    """Show one method: the survey's row, what the code implements, where and why they differ, and its settings.

    METHOD is a slug, a name or a benchmark key. The values of `--preset paper` stand at the end, with their sources;
    `apx run METHOD --dry-run` shows every setting of one run.

    \b
    Example:
      apx show robustbird
    """
    entry = registry.entry(method)
    warn_of(registry.failures())
    if as_json:
        print_json({**entry.as_dict(), **entry.document})
        return
    _print_head(entry)
    _print_blocks(entry)
    _print_variants(entry.document["implements"]["variants"])
    _print_notes(entry)
    _print_hyperparameters(entry)


def _print_head(entry: Entry) -> None:
    document = entry.document
    code = document["code"]
    licence = {None: "licence unknown", "NONE": "no licence"}
    facts = {
        "title": document["title"],
        "authors": ", ".join(document["authors"]),
        "published": " ".join(str(part) for part in (document["venue"], entry.year) if part is not None),
        "paper": document["url"] or "none",
        "code": f"{code['url']} ({licence.get(code['licence'], code['licence'])})" if code else "none published",
        "key": entry.key or "none",
        "origin": entry.origin,
        "plugin": f"{entry.distribution} {entry.version}",
        "runs": "yes" if entry.implemented else "no, only the entry exists",
    }
    say(f"{entry.name} ({entry.slug})", bold=True)
    for name, value in facts.items():
        say(f"{name:<10} {value}")


def _print_blocks(entry: Entry) -> None:
    survey, implements = entry.survey, entry.implements
    reasons = {differs["field"] for differs in entry.document["implements"]["differs"]}
    rows: list[tuple[str, ...]] = []
    for name, pick in _PROPERTIES.items():
        published = "-" if survey is None else pick(survey)
        mark = " *" if survey is not None and (published != pick(implements) or name in reasons) else ""
        rows.append((f"{name}{mark}", published, pick(implements)))
    for index, view in enumerate((survey, implements)):
        for phase, objectives in view.phases if view is not None else ():
            cells = ["-", "-"]
            cells[index] = words(objectives) if objectives != () else "no training"
            rows.append((phase, *cells))
    say()
    print_table("property", "survey", "implements", rows=rows)
    if survey is not None:
        say("* differs", dim=True)


_PROPERTIES = {
    "stage": lambda view: view.stage,
    "schedules": lambda view: words(view.schedules),
    "structures": lambda view: words(view.structures),
    "granularities": lambda view: words(view.granularities),
    "localities": lambda view: words(view.localities),
    "criterion": lambda view: view.criterion,
}


def _print_variants(variants: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for number, one in enumerate(variants, start=1):
        cells = (one[name] for name in ("structure", "granularity", "schedule", "locality", "budget", "sparsity_unit"))
        left_out = ", ".join(one["excluded_layers"]) or "none"
        rows.append((str(number), *cells, left_out, one["status"], one["basis"]))
    headings = ("structure", "granularity", "schedule", "locality", "budget", "sparsity in", "never pruned")
    say()
    print_table("variant", *headings, "status", "basis", rows=rows)
    for number, one in enumerate(variants, start=1):
        if "remark" in one:
            say(f"variant {number}: {one['remark']}")


def _print_notes(entry: Entry) -> None:
    differs = entry.document["implements"]["differs"]
    if differs:
        say("\nWhere the code differs from the survey, and why", bold=True)
        for one in differs:
            say(f"{one['field']}: {one['why']}")
    disputed = entry.document.get("survey", {}).get("disputed", [])
    if disputed:
        say("\nDisputed: other published values", bold=True)
        for one in disputed:
            remark = f"; {one['remark']}" if "remark" in one else ""
            say(f"{one['field']}: {_value(one['value'])} ({one['source']}{remark})")


def _print_hyperparameters(entry: Entry) -> None:
    if not entry.hyperparameters:
        return
    rows = []
    for one in entry.hyperparameters:
        where = ", ".join((*one.datasets, *one.architectures))
        rows.append((f"{one.setting} ({where})" if where else one.setting, setting_value(one.value), one.source))
    say("\nSettings of --preset paper", bold=True)
    print_table("setting", "value", "source", rows=rows)


def _value(value: str | list[str] | None) -> str:
    return value if isinstance(value, str) else words(value)
