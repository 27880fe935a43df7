"""`apx cache`: what apx keeps between runs."""

from __future__ import annotations

import click

from apx import storage
from apx.errors import UserError
from apx.lookup import choose
from apx.paths import home

from ..output import agreed, json_option, print_json, size, yes_option
from ..tables import print_table


@click.group(name="cache")
def command() -> None:
    """Show or clear what apx keeps between runs: dense models, data sets, verdicts on entries.

    The folder is $APX_HOME, or the platform's cache folder.

    \b
    Example:
      apx cache info
      apx cache clear dense
    """


@command.command()
@json_option
def info(as_json: bool) -> None:
    """Show where the cache is and how large its parts are.

    \b
    Example:
      apx cache info --json
    """
    found = storage.parts()
    if as_json:
        listed = [{"name": part.name, "path": str(part.path), "bytes": part.bytes} for part in found]
        print_json({"path": str(home()), "parts": listed})
        return
    click.echo(str(home()))
    print_table("part", "size", "holds", rows=[(part.name, size(part.bytes), part.holds) for part in found])


@command.command()
@click.argument("part", required=False)
@yes_option
def clear(part: str | None, yes: bool) -> None:
    """Delete one PART of the cache (dense, data, zoo, verdicts), or all of them; asks first.

    Only what apx keeps there is deleted, nothing else in the folder.

    \b
    Example:
      apx cache clear dense --yes
    """
    known = {one.name: one for one in storage.parts()}
    chosen = list(known.values()) if part is None else [choose(known, part, "part of the cache")]
    held = [one for one in chosen if one.path.exists()]
    if not held:
        click.echo("nothing to clear")
        return
    total = size(sum(one.bytes for one in held))
    if not yes and not agreed(f"Delete {', '.join(one.name for one in held)} ({total}) under {home()}?"):
        raise UserError("nothing was deleted: answer y, or give --yes")
    for one in held:
        storage.clear(one)
    click.echo(f"deleted {total}")
