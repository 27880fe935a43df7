"""`apx cite`: the BibTeX of methods."""

from __future__ import annotations

import click

from apx import registry
from apx.errors import UserError

from ..output import json_option, print_json


@click.command(name="cite")
@click.argument("methods", nargs=-1, required=True, metavar="METHOD...")
@json_option
def command(methods: tuple[str, ...], as_json: bool) -> None:
    """Print the BibTeX of methods.

    \b
    Example:
      apx cite hydra twinrep >> references.bib
    """
    records = {entry.slug: entry.document["bibtex"] for entry in map(registry.entry, methods)}
    missing = [slug for slug, bibtex in records.items() if bibtex is None]
    if missing:
        raise UserError(f"there is no publication to cite for {', '.join(missing)}: leave it out")
    if as_json:
        print_json([{"slug": slug, "bibtex": bibtex} for slug, bibtex in records.items()])
    else:
        click.echo("\n\n".join(records.values()))
