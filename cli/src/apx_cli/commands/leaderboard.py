"""`apx leaderboard`: the published results, and one's own beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from apx.errors import UserError

from ..output import json_option, print_json, warn
from ..tables import console, table

if TYPE_CHECKING:
    from apx.leaderboards.text import Cell, Table


@click.command(name="leaderboard")
@click.option("--dataset", metavar="NAME", multiple=True, help="Such as cifar10; repeat an option for any of several.")
@click.option("--structure", metavar="US|S", multiple=True)
@click.option("--arch", metavar="NAME", multiple=True, help="Such as resnet18.")
@click.option("--sparsity", type=float, metavar="PERCENT", multiple=True, help="Percent removed, such as 90.")
@click.option("--method", metavar="NAME", multiple=True, help="A slug as in `apx list`, or the printed name.")
@click.option("--metric", metavar="robust|clean", default="robust", show_default=True, help="The accuracy that ranks.")
@click.option("--source", metavar="published|local|all", default="all", show_default=True)
@click.option("--sort", metavar="COLUMN", help="Order by a column, whatever the network: robust, sparsity, flops, ...")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    multiple=True,
    help="Run directories, or a folder of them; runs/ by default.",
)
@click.option(
    "--file", "files", type=click.Path(path_type=Path), metavar="FILE", multiple=True, help="Submitted results."
)
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write a page that can be sorted."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw robust accuracy against sparsity, FLOPs and milliseconds: .png, .svg or .html.",
)
@json_option
def command(
    dataset: tuple[str, ...],
    structure: tuple[str, ...],
    arch: tuple[str, ...],
    sparsity: tuple[float, ...],
    method: tuple[str, ...],
    metric: str,
    source: str,
    sort: str | None,
    runs: tuple[Path, ...],
    files: tuple[Path, ...],
    markdown: bool,
    page: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Print the published leaderboards with your own runs beside them.

    Published numbers are AutoAttack at 0.031 on 10,000 images; what keeps an own run from being compared with them is
    said in its row. Bold and dashes are as published.

    \b
    Example:
      apx leaderboard --dataset cifar10 --arch resnet18 --structure US --sparsity 90
      apx leaderboard --source local --runs runs --sort robust --html leaderboard.html
    """
    if as_json and markdown:
        raise UserError("--json and --markdown exclude each other: give one")
    if page is not None and not page.parent.is_dir():
        raise UserError(f"there is no folder {page.parent} for {page.name}: make it, or choose another --html")
    from apx.leaderboards import leaderboard
    from apx.leaderboards.text import markdown as as_markdown
    from apx.leaderboards.text import table_of

    if plot is not None:
        from apx.figures.files import figure_format
        from apx.figures.leaderboard import FORMATS

        figure_format(plot, FORMATS)
    rows = leaderboard(
        dataset=dataset,
        structure=structure,
        arch=arch,
        sparsity=sparsity,
        method=method,
        metric=metric,
        source=source,
        sort=sort,
        runs=runs or None,
        files=files,
        warn=warn,
    )
    if plot is not None:
        from apx.figures.leaderboard import save_leaderboard

        save_leaderboard(rows, plot)
    made = table_of(rows)
    if page is not None:
        from apx.leaderboards.html import page as as_page
        from apx.paths import atomic_write

        atomic_write(page, as_page(made).encode())
    if as_json:
        print_json({"rows": [row.as_dict() for row in rows]})
    elif markdown:
        click.echo(as_markdown(made), nl=False)
    else:
        _show(made)
    for file in (page, plot):
        if file is not None:
            click.echo(f"wrote {file}", err=True)


def _show(made: Table) -> None:
    from rich.text import Text

    from apx.leaderboards.text import marks, narrower

    def text(cell: Cell) -> Text:
        return Text.assemble((cell.text, "bold" if cell.bold else ""), (marks(cell), "dim"))

    if not made.rows:
        click.echo("no results: run a method and evaluate it, or loosen the filters")
        return
    said = ""
    if len(made.rows) > 1:
        made, said = narrower(made)
    if said:
        click.echo(f"Of all rows: {said}.\n")
    shown = table(*(column.title for column in made.columns), rows=[])
    for row in made.rows:
        shown.add_row(*map(text, row))
    console().print(shown)
    for number, note in enumerate(made.notes, 1):
        click.echo(f"[{number}] {note}")
