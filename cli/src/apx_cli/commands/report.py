"""`apx report`: one self-contained page about runs."""

from __future__ import annotations

from pathlib import Path

import click

from ..output import json_option, print_json, warn


@click.command(name="report")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("report"),
    show_default=True,
    metavar="DIR",
    help="The folder to write index.html into.",
)
@json_option
def command(runs: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Write one HTML page about RUNS: run directories, or folders that hold some.

    Summary, security curves, accuracy against sparsity, sparsity per layer, samples on thin ice, latency, taxonomy,
    settings and versions. The page needs no network and no JavaScript, which only makes its figures interactive. What
    was not measured is named with the command that measures it.

    \b
    Example:
      apx report runs --out report
      apx report runs/hydra-resnet18-digits-20261120-101500 runs/magnitude-resnet18-digits-20261120-103000
    """
    from apx.pages import open_subjects, save_report

    subjects, left_out = open_subjects(runs)
    for sentence in left_out:
        warn(sentence)
    page = save_report(subjects, out)
    if as_json:
        print_json({"page": str(page), "runs": [str(subject.run.path) for subject in subjects]})
        return
    click.echo(
        f"wrote {page}: {len(subjects)} run{'s' if len(subjects) > 1 else ''}, {page.stat().st_size / 1e6:.1f} MB"
    )
