"""`apx plugin list`: every distribution with plugins, what it offers, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

from apx import registry

from .output import json_option, print_json
from .tables import print_table

if TYPE_CHECKING:
    from apx.registry import Failure
    from apx.registry.inspection import Inspected

_SINGULAR = {"criteria": "criterion"}  # for all other kinds: the word without its s


@click.command(name="list")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="Give a plugin up that takes longer than this to be imported.",
)
@json_option
def list_command(timeout: float, as_json: bool) -> None:
    """List the distributions with plugins: what each offers, what failed and why.

    Plugins are imported in a process of their own, one after the other, so that one which hangs or exits stops nobody.
    A broken plugin is reported and changes nothing about the exit status.

    \b
    Example:
      apx plugin list
      apx plugin list --json
    """
    from apx.registry.inspection import inspect

    from .main import COMMANDS

    found = inspect(timeout=timeout, own_commands=tuple(COMMANDS))
    if as_json:
        print_json([_document(one) for one in found])
    else:
        _print(found)


def _document(one: Inspected) -> dict[str, Any]:
    return {
        "distribution": one.distribution,
        "version": one.version,
        "packages": list(one.packages),
        "offers": {kind: list(names) for kind, names in one.offers.items()},
        "failures": [
            {"what": failure.what, "pointer": failure.pointer, "message": failure.message} for failure in one.failures
        ],
        "remarks": list(one.remarks),
    }


def _print(found: Sequence[Inspected]) -> None:
    listed_only = {entry.slug for entry in registry.entries() if not entry.implemented}
    rows = [(one.distribution, one.version, _offers(one, listed_only)) for one in found]
    print_table("distribution", "version", "offers", rows=rows)
    failures = [f"{one.distribution} {one.version}: {_sentence(failure)}" for one in found for failure in one.failures]
    remarks = [f"{one.distribution} {one.version}: {remark}" for one in found for remark in one.remarks]
    click.echo()
    _section("Failures", failures)
    if remarks:
        _section("Remarks", remarks)


def _section(title: str, sentences: Sequence[str]) -> None:
    click.secho(f"{title}: {len(sentences) or 'none'}", bold=True)
    for sentence in sentences:
        click.echo(f"  {sentence}")


def _sentence(failure: Failure) -> str:
    place = f" at {failure.pointer}" if failure.pointer else ""
    return f"{failure.what}{place}: {failure.message}"


def _offers(one: Inspected, listed_only: Collection[str]) -> str:
    """Write what a distribution offers: `method hydra; attacks boundary, square`."""
    parts = []
    for kind, names in one.offers.items():
        if names:
            noun = kind if len(names) > 1 else _SINGULAR.get(kind, kind.removesuffix("s"))
            marks = [" (entry only)" if kind == "methods" and name in listed_only else "" for name in names]
            parts.append(f"{noun} {', '.join(map(str.__add__, names, marks))}")
    return "; ".join(parts) or "-"
