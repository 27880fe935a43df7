"""`apx taxonomy`: write a method's entry, and say what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from apx.errors import UserError

from ..options import word
from ..output import json_option, print_json
from ..taxonomy_new import Answers


@click.group(name="taxonomy")
def command() -> None:
    """Write and validate a method's entry in the taxonomy.

    \b
    Example:
      apx taxonomy new my-method
      apx taxonomy validate my-method.json
    """


@command.command(name="new")
@click.argument("slug", required=False)
@click.option("--name", metavar="TEXT", help="The method's printed name.")
@click.option("--title", metavar="TEXT", help="Of the paper.")
@click.option("--author", "authors", multiple=True, metavar="TEXT", help="Once for each author.")
@click.option("--year", type=click.IntRange(1950, 2100), metavar="YEAR")
@click.option("--venue", metavar="TEXT")
@click.option("--url", metavar="URL", help="Of the paper.")
@click.option("--code", metavar="URL", help="Of the authors' code.")
@click.option("--licence", metavar="SPDX", help="Of the code; NONE where it states none.")
@click.option("--key", metavar="NAME_Author2024Word", help="The benchmark's key, where there is one.")
@click.option("--stage", callback=word("stage"), metavar="WHEN", help="before, during or after training.")
@click.option("--schedule", "schedules", multiple=True, metavar="1S|IT", help="One-shot, iterative; once for each.")
@click.option("--structure", "structures", multiple=True, metavar="US|S", help="Unstructured, structured.")
@click.option(
    "--granularity", callback=word("granularity"), metavar="NAME", help="Of S: filters, channels, kernels, ..."
)
@click.option("--locality", "localities", multiple=True, metavar="L|G", help="Local, global ranking; once for each.")
@click.option(
    "--criterion", callback=word("criterion"), metavar="NAME", help="LWM, SOLWM, RELWM, LIS, HGM, BCS, RANDOM."
)
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    metavar="PHASE=NAME",
    help="What a phase minimises, the paper's first: pretrain, prune, finetune or train; nat, pgd, trades, kd, ...",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="SLUG.json by default.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@json_option
def new(slug: str | None, out: Path | None, force: bool, as_json: bool, **given: Any) -> None:
    """Ask the survey's questions about a method, and write its entry.

    What an option says is not asked. Where nobody sits at the terminal all of name, title, author, year, stage,
    schedule, structure, locality, criterion and objective must be given. The entry says that there is no code yet
    (entry-only); `apx plugin new` starts a plugin with code.

    \b
    Example:
      apx taxonomy new my-method
      apx taxonomy new my-method --name MyMethod --title "Pruning" --author "A. Author" --year 2026 \\
        --stage after --schedule 1S --structure US --locality G --criterion LIS \\
        --objective pretrain=trades --objective finetune=trades
    """
    _check_start(slug, out, force)
    answers = Answers(slug, {name: value for name, value in given.items() if value not in (None, ())})
    made = answers.complete().entry()
    path = out or Path(f"{made['slug']}.json")
    _check_place(path, force)
    _write(path, made)
    if as_json:
        print_json(made)
    else:
        count = len(made["implements"]["variants"])
        click.echo(f"wrote {path}: {made['name']}, {count} variant{'s' if count > 1 else ''}")


def _check_start(slug: str | None, out: Path | None, force: bool) -> None:
    """Refuse what would be refused in the end before anything is asked."""
    from apx.scaffold import check_slug

    if slug is not None:
        check_slug(slug)
    if out is not None or slug is not None:
        _check_place(out or Path(f"{slug}.json"), force)


def _check_place(path: Path, force: bool) -> None:
    """Refuse a file that exists, or one in a folder that does not."""
    try:
        taken, homeless = path.exists(), not path.parent.is_dir()
    except OSError as error:
        raise _unwritable(path, error) from error
    if taken and not force:
        raise UserError(f"the file {path} exists: choose another --out, or replace it with --force")
    if homeless:
        raise UserError(f"there is no folder {path.parent} for {path.name}: make it, or choose another --out")


def _write(path: Path, entry: dict[str, Any]) -> None:
    from apx.paths import atomic_write

    try:
        content = (json.dumps(entry, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError as error:
        raise UserError("an answer holds bytes that are no text in UTF-8: write it again") from error
    try:
        atomic_write(path, content)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"the file {path} cannot be written: {error.strerror}; choose another --out")


@command.command(name="validate")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@json_option
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what is wrong with FILES, each one entry or a list of them: line, place, allowed values.

    Advice is given on valid entries: where the survey's row and the implementation differ without a reason in
    implements.differs, or a word is nearly one of the vocabulary. Advice does not make an entry invalid.

    \b
    Example:
      apx taxonomy validate my-method.json
      apx taxonomy validate src/*/taxonomy.json --json
    """
    from apx_taxonomy.authoring import judge_file

    verdicts = {str(file): judge_file(file) for file in files}
    if as_json:
        print_json({name: verdict.as_list() for name, verdict in verdicts.items()})
    else:
        for name, verdict in verdicts.items():
            for one in verdict.faults:
                click.echo(f"{name}:{one.line}: {one.pointer or 'the document'}: {one.text}")
            for one in verdict.advice:
                click.echo(f"{name}:{one.line}: {one.pointer}: advice: {one.text}")
            if not verdict.faults:
                click.echo(f"{name}: valid")
    if wrong := [name for name, verdict in verdicts.items() if verdict.faults]:
        count = sum(len(verdict.faults) for verdict in verdicts.values())
        raise UserError(f"{', '.join(wrong)}: {count} problem{'s' if count > 1 else ''}; mend what is listed")
