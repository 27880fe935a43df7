"""`apx submit`: check runs, make a bundle of them, merge a bundle into a leaderboard file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from apx.errors import UserError

from ..output import json_option, print_json
from ..tables import print_table

board_option = click.option(
    "--board",
    metavar="benchmark|lab",
    default="benchmark",
    show_default=True,
    help="benchmark: the AP benchmark's networks, data and sparsities. lab: any, for a board of your own.",
)
runs_argument = click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)


@click.group(name="submit")
def command() -> None:
    """Check, bundle and merge results for a leaderboard.

    A contribution is one method's three sparsities of one network, data set and structure at least, each evaluated by
    apx evaluate RUN --protocol standard on the whole test split.

    \b
    Example:
      apx submit check runs/a90 runs/a95 runs/a99
      apx submit make runs/a90 runs/a95 runs/a99 --out bundle
      apx submit merge bundle --to board.json
    """


@command.command(name="check")
@runs_argument
@board_option
@json_option
def check_command(runs: tuple[Path, ...], board: Any, as_json: bool) -> None:
    """Say of each rule whether RUNS keep it; exit status 2 where one is broken.

    \b
    Example:
      apx submit check runs/a90 runs/a95 runs/a99 --board lab
    """
    from apx.submission import check, open_candidates, problems

    verdicts = check(open_candidates(runs, board))
    if as_json:
        print_json([vars(one) for one in verdicts])
    else:
        rows = [(one.rule, "PROBLEM" if one.state == "problem" else one.state, one.text) for one in verdicts]
        print_table("rule", "", "what was found", rows=rows)
    if broken := problems(verdicts):
        raise UserError(f"{len(broken)} of {len(verdicts)} rules are broken; mend what is marked PROBLEM")


@command.command(name="make")
@runs_argument
@board_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", required=True, help="The bundle to make.")
@click.option("--force", is_flag=True, help="Replace the folder if it exists.")
def make_command(runs: tuple[Path, ...], board: Any, out: Path, force: bool) -> None:
    """Write the bundle of RUNS: entry, results, distances, safetensors, sums, and the filled issue text.

    \b
    Example:
      apx submit make runs/a90 runs/a95 runs/a99 --out bundle
      cd bundle && sha256sum -c SHA256SUMS
    """
    from apx.submission import make_bundle, open_candidates

    for one in make_bundle(open_candidates(runs, board), out, replace=force):
        click.echo(f"advice: {one.text}", err=True)
    click.echo(f"wrote {out}: {len(runs)} checkpoints; the text of the issue is {out / 'ISSUE.md'}")


@command.command(name="merge")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("leaderboard.json"),
    show_default=True,
    metavar="FILE",
    help="The leaderboard file to append to; it is made where it is missing.",
)
@click.option("--n", type=click.IntRange(min=1), default=64, show_default=True, help="Samples to evaluate again.")
@click.option("--attack", metavar="NAME", default="pgd", show_default=True, help="With what; autoattack takes longer.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw and the attack.")
@click.option("--device", metavar="NAME", help="cpu or cuda; the CPU by default.")
@click.option("--data-dir", metavar="DIR", help="Where the data sets are.")
@click.option("--force", is_flag=True, help="Replace results that the file has already.")
@json_option
def merge_command(bundle: Path, file: Path, force: bool, as_json: bool, **draws: Any) -> None:
    """Verify BUNDLE and append it to a leaderboard file, which apx leaderboard --file reads.

    Sums, schemas, numbers against samples, sparsity against weights; then samples of each network are predicted and
    attacked again. Nothing in a bundle is executed or unpickled.

    \b
    Example:
      apx submit merge bundle --to board.json --n 256
      apx leaderboard --file board.json --source local
    """
    from apx.submission import merge, verify

    manifest, models = verify(bundle, **draws)
    count = merge(manifest, models, file, replace=force)
    rows = [
        (one.model["name"], str(one.again), str(one.predictions), str(one.broken), f"{one.document['n']:,}")
        for one in models
    ]
    if as_json:
        found = [{"name": name, "again": int(n), "predictions": int(p), "broken": int(b)} for name, n, p, b, _ in rows]
        print_json({"file": str(file), "models": found})
        return
    headings = ("model", "evaluated again", "predicted otherwise", "robust, but broken", "of")
    print_table(*headings, rows=rows)
    click.echo(f"appended {count} results of {manifest['name']} to {file}")
