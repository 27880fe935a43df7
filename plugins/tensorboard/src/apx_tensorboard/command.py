"""`apx tensorboard`: curves of runs that ran without the observer."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="tensorboard")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
def command(runs: tuple[Path, ...]) -> None:
    """Write the curves of runs that ran without `--observer tensorboard`.

    They come from the record of their epochs, which knows no sparsity; that curve is the observer's alone.

    \b
    Example:
      apx tensorboard runs/hydra-resnet18-digits-20261120-101500
    """
    for run in runs:
        click.echo(str(write(run)))


def write(run: Path) -> Path:
    """Write the event file of one run directory and return the folder that it lies in.

    Raises:
        UserError: it is no run directory, has no epochs, or has event files already.
    """
    from apx import UserError
    from apx.runner.directory import RunDirectory

    from .events import FOLDER, EventFile, points

    records = RunDirectory.open(run).metrics()
    folder = run / FOLDER
    if folder.exists():
        raise UserError(
            f"{run} has curves already; remove {folder} to write them anew, without the curve of its sparsity"
        )
    if not records:
        raise UserError(f"{run} has no epochs to show: it has trained nothing yet")
    file = EventFile(folder, first_step=0)
    for step, record in enumerate(records):
        file.write(step, points(record))
    file.close()
    return folder
