"""`apx plugin new`: write the distribution of a new method."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from apx.errors import UserError

from .options import word
from .questions import ask, somebody_answers

_ASKED: Mapping[str, str] = {
    "stage": "When does it prune: before, during or after training?",
    "schedule": "One-shot (1S) or iterative (IT)?",
    "structure": "Single weights (US) or whole groups (S)?",
    "locality": "Ranked inside each layer (L) or across layers (G)?",
    "criterion": "What goes first: LWM, SOLWM, RELWM, LIS, HGM, BCS or RANDOM?",
}


@click.command(name="new")
@click.argument("slug")
@click.option("--stage", callback=word("stage"), metavar="WHEN", help="before, during or after training.")
@click.option("--schedule", callback=word("schedule"), metavar="1S|IT", help="One-shot or iterative.")
@click.option("--structure", callback=word("structure"), metavar="US|S", help="Unstructured or structured.")
@click.option("--locality", callback=word("locality"), metavar="L|G", help="Local or global ranking.")
@click.option(
    "--criterion", callback=word("criterion"), metavar="NAME", help="LWM, SOLWM, RELWM, LIS, HGM, BCS, RANDOM."
)
@click.option(
    "--granularity", callback=word("granularity"), metavar="NAME", help="Of S: filters (default), channels, kernels."
)
@click.option("--budget", callback=word("budget"), metavar="NAME", help="Of L: uniform (default) or fixed-nonuniform.")
@click.option("--name", metavar="TEXT", help="The method's printed name; made from the slug where absent.")
@click.option("--author", metavar="TEXT", help="Your name; that of your account where absent.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder to make (apx-SLUG).")
def new_command(slug: str, author: str | None, out: Path | None, **asked: Any) -> None:
    """Write a complete plugin for a new method: it installs, runs and passes its own tests as it is.

    SLUG is what `apx run` will call it. What is missing of its place in the taxonomy is asked for.

    \b
    Example:
      apx plugin new my-method --stage after --schedule 1S --structure US --locality G --criterion LIS
    """
    from apx import scaffold

    given = {name: value for name, value in asked.items() if value is not None}
    wish = scaffold.Wish(slug, **_complete(given), author=author or getpass.getuser())
    folder = out or Path(f"apx-{slug}")
    for file in scaffold.write(wish, folder):
        click.echo(str(file))
    click.echo(f"\nnext:\n  uv pip install -e {folder}\n  apx plugin check {slug}\n  pytest {folder}", err=True)


def _complete(given: dict[str, Any]) -> dict[str, Any]:
    """Ask for what is missing; where nobody can answer, say which options are."""
    from apx.registry import read_word

    missing = [name for name in _ASKED if name not in given]
    if missing and not somebody_answers():
        options = ", ".join(f"--{name}" for name in missing)
        raise UserError(f"{options} missing: the method's place in the taxonomy; see `apx plugin new --help`")
    for name in missing:
        given[name] = ask(_ASKED[name], partial(read_word, name))
    return given
