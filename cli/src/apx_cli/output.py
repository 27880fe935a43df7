"""Printing: lines and values for people, one JSON document for programs, warnings beside both; see also `tables`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from apx.registry import Failure

NOT_SPECIFIED = "n.s."
_SHOWN = 3  # faults told per distribution before the rest is counted

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def print_json(document: Any) -> None:
    """Print one JSON document on stdout, in ASCII, so that no terminal setting can break it."""
    click.echo(json.dumps(document, indent=2))


def say(text: str = "", *, bold: bool = False, dim: bool = False) -> None:
    """Print a line in the encoding that stdout has; click alone would write UTF-8 where it finds ASCII."""
    click.secho(text, file=sys.stdout, bold=bold or None, dim=dim or None)


def words(values: Sequence[str] | None) -> str:
    """Write the values of one property; None is what the survey does not specify."""
    return NOT_SPECIFIED if values is None else ", ".join(values)


def setting_value(value: Any) -> str:
    """Write a setting as `--set` takes it, radii in pixel levels as k/255; null is the setting's default."""
    if value is None:
        return "default"
    if not isinstance(value, float):
        return value if isinstance(value, str) else json.dumps(value)
    levels = value * 255
    if 0 < round(levels) < 51 and abs(levels - round(levels)) < 1e-9:  # below 51/255 = 0.2 no short decimal
        return f"{round(levels)}/255"
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def size(count: int) -> str:
    """Write a number of bytes with a unit of 1024."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def agreed(question: str) -> bool:
    """Ask on stderr; no is the answer where nobody can give one."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # the input has ended
        click.echo(err=True)
        return False


def warn(message: str) -> None:
    """Print one short warning on stderr."""
    click.echo(click.style("Warning: ", fg="yellow") + message, err=True)


def warn_of(failures: Iterable[Failure]) -> None:
    """Print what is wrong with plugins on stderr, a few lines per distribution."""
    told: dict[str, list[Failure]] = {}
    for failure in failures:
        told.setdefault(failure.distribution, []).append(failure)
    for name, faults in told.items():
        for failure in faults[:_SHOWN]:
            warn(str(failure))
        if len(faults) > _SHOWN:
            warn(f"{name}: {len(faults) - _SHOWN} more; `apx doctor` shows all")
