"""`apx doctor`: versions, the machine, the cache and what is wrong with plugins."""

from __future__ import annotations

from typing import Any

import click

from ..output import json_option, print_json, size


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> None:
    """Show versions, the machine, the cache, and what is wrong with plugins.

    Plugins are loaded for it in a process of their own; a broken one is reported and does not stop the others.

    \b
    Example:
      apx doctor
    """
    from apx.diagnosis import diagnose

    found = diagnose()
    if as_json:
        print_json(found)
        return
    for title, facts in (("Versions", found["versions"]), ("Machine", found["machine"])):
        _section(title, {name: _text(value) for name, value in facts.items()})
    _section("Cache", _cache(found["cache"]))
    _section("Plugins", _plugins(found["plugins"]))
    failures = found["failures"]
    click.secho(f"Failures: {len(failures) or 'none'}", bold=True)
    for failure in failures:
        place = f" at {failure['pointer']}" if failure["pointer"] else ""
        about = f"{failure['distribution']} {failure['version']}: {failure['what']}{place}"
        click.echo(f"  {about}: {failure['message']}")


def _section(title: str, facts: dict[str, str]) -> None:
    click.secho(title, bold=True)
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"  {name:<{width}}  {value}")


def _cache(cache: dict[str, Any]) -> dict[str, str]:
    sizes = {part["name"]: size(part["bytes"]) for part in cache["parts"]}
    return {"path": f"{cache['path']} ({'writable' if cache['writable'] else 'not writable'})", **sizes}


def _plugins(plugins: dict[str, Any]) -> dict[str, str]:
    return {
        "distributions": str(len(plugins["distributions"])),
        "methods": f"{plugins['methods']}, of which {plugins['implemented']} run",
        "commands": _text(plugins["commands"]),
        "observers": _text(plugins["observers"]),
    }


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else "unknown" if value is None else str(value)
