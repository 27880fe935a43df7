"""`apx evaluate`: attack a network and print what is left of its accuracy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..options import Radius
from ..output import json_option, print_json


def made_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a checkpoint's network was made, for files that do not record it."""
    for option in (
        click.option("--data-dir", metavar="DIR", help="Where data sets are and are downloaded to."),
        click.option("--dataset", metavar="NAME", help="The data of a checkpoint that does not record it."),
        click.option("--width", type=int, help="The width of a checkpoint that does not record it."),
        click.option("--arch", metavar="NAME", help="The network of a checkpoint that does not record it."),
    ):
        function = option(function)
    return function


@click.command(name="evaluate")
@click.argument("target", metavar="RUN_OR_CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "--attack",
    metavar="NAME",
    default="pgd",
    show_default=True,
    help="clean, fgsm, pgd, autoattack (the standard version), or what a plugin offers.",
)
@click.option("--eps", type=Radius(), help="Linf radius, 8/255 or a decimal; the data set's threat by default.")
@click.option("--n", type=click.IntRange(min=1), metavar="INTEGER", help="Number of test images; all by default.")
@click.option("--steps", type=int, default=20, show_default=True, help="Steps of PGD, or of a plugin's attack.")
@click.option("--batch-size", type=int, default=128, show_default=True, help="Images per pass.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random starts.")
@click.option("--device", metavar="auto|cpu|cuda", default="auto", show_default=True, help="Where to compute.")
@made_options
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also write the results document here.")
@json_option
def command(
    target: Path,
    attack: str,
    eps: float | None,
    n: int | None,
    steps: int,
    batch_size: int,
    seed: int,
    device: str,
    out: Path | None,
    as_json: bool,
    **made: Any,
) -> None:
    """Attack a network on the test set: a run directory, or a file of weights.

    --json prints the results document, with what happened to each image.

    \b
    Example:
      apx evaluate runs/hydra-resnet18-digits-20261120-101500 --attack autoattack --n 200
      apx evaluate model.safetensors --arch resnet18 --dataset cifar10 --eps 8/255
    """
    from apx.evaluation import ATTACKS, attack_named, evaluate
    from apx.run.request import choose_device
    from apx.target import Made, open_target

    attack = attack.lower() if attack.lower() in ATTACKS else attack
    attack_named(attack)  # a name that is none is told before anything is loaded
    where = choose_device(device)
    opened = open_target(target, Made(**made))
    document = evaluate(
        opened.module.to(where),
        opened.data.test,
        attack=attack,
        eps=opened.data.threat_eps if eps is None else eps,
        steps=steps,
        n=n,
        batch_size=batch_size,
        device=where,
        seed=seed,
        target=opened.facts,
        progress=_progress(),
    )
    _show(document, out, as_json)


def _show(document: dict[str, Any], out: Path | None, as_json: bool) -> None:
    import json

    from apx.paths import atomic_write

    from ..report import print_results

    if out is not None:
        atomic_write(out, (json.dumps(document, indent=2) + "\n").encode())
    print_json(document) if as_json else print_results(document)


def _progress() -> Callable[[int, int, int], None]:
    """Return a counter line on a terminal, and a plain line each tenth of the work elsewhere; both on stderr."""
    live, told = sys.stderr.isatty(), [0]

    def report(done: int, total: int, robust: int) -> None:
        share = 10 * done // total
        if live:
            click.echo(f"\r{done / total:6.1%}, {robust} images still robust ", err=True, nl=done >= total)
        elif share > told[0]:
            told[0] = share
            click.echo(f"{share}0 %, {robust} images still robust", err=True)

    return report
