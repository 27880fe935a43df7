"""`apx runs`: run directories."""

from __future__ import annotations

from pathlib import Path

import click

from apx import runs
from apx.errors import UserError

from ..output import agreed, json_option, print_json, size, warn, yes_option
from ..report import print_report
from ..tables import print_table

_DEFAULT = Path("runs")

folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder that holds the run directories (runs).",
)


@click.group(name="runs")
def command() -> None:
    """List, show and remove run directories.

    \b
    Example:
      apx runs list
      apx runs show runs/hydra-resnet18-digits-20261120-101500
    """


@command.command(name="list")
@folder_option
@json_option
def list_runs(folder: Path | None, as_json: bool) -> None:
    """List the run directories, oldest first.

    \b
    Example:
      apx runs list --dir runs
    """
    found, unreadable = ([], []) if folder is None and not _DEFAULT.exists() else runs.find_runs(folder or _DEFAULT)
    for sentence in unreadable:
        warn(sentence)
    summaries = [run.summary() for run in found]
    if as_json:
        print_json(summaries)
        return
    if not summaries:
        click.echo("no run directories here", err=True)
        return
    rows = [
        (
            one["path"],
            *(str(one[name]) for name in ("method", "arch", "dataset", "seed")),
            "-" if one["sparsity"] is None else f"{one['sparsity']:.2%}",
            "ended" if one["finished"] else "can be resumed",
            size(one["bytes"]),
        )
        for one in summaries
    ]
    print_table("run", "method", "arch", "dataset", "seed", "sparsity", "state", "size", rows=rows)


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def show(run: Path, as_json: bool) -> None:
    """Show what RUN was asked and how it ended.

    \b
    Example:
      apx runs show runs/hydra-resnet18-digits-20261120-101500 --json
    """
    found = runs.open_run(run)
    if as_json:
        print_json({**found.summary(), "record": found.record, "report": found.report})
    elif found.report is not None:
        print_report(found.report)
    else:
        request = found.request
        click.echo(f"{request.get('method')} on {request.get('arch')}, {request.get('dataset')}: not ended")
        click.echo(f"continue it with: apx run --resume {found.path}")


@command.command()
@click.argument("run", type=click.Path(path_type=Path), nargs=-1, required=True)
@yes_option
def rm(run: tuple[Path, ...], yes: bool) -> None:
    """Delete run directories with everything in them; asks first, and refuses anything else.

    \b
    Example:
      apx runs rm runs/hydra-resnet18-digits-20261120-101500
    """
    found = [runs.open_run(path) for path in run]  # all of them are run directories, or none is deleted
    names = ", ".join(str(one.path) for one in found)
    if not yes and not agreed(f"Delete {names}?"):
        raise UserError("nothing was deleted: answer y, or give --yes")
    for one in found:
        runs.remove_run(one)
        click.echo(f"deleted {one.path}")
