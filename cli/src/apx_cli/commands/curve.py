"""`apx curve`: the security curves of several models in one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from apx.errors import UserError

from ..measuring import Asked, Model, measuring_options
from ..options import Radius
from ..output import json_option, print_json
from ..tables import print_table


@click.command(name="curve")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", type=click.Path(path_type=Path))
@click.option("--names", metavar="A,B,...", help="Labels of the models, in their order.")
@click.option("--max-eps", type=Radius(), help="Where the curves end; 0.15 by default, or twice the threat if more.")
@click.option(
    "--attack",
    type=click.Choice(["fmn", "ho-fmn"], case_sensitive=False),
    default="fmn",
    show_default=True,
    help="The minimum-norm attack on networks; ho-fmn tunes itself first, and takes far longer.",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="INTEGER", help="Steps of the minimum-norm attack.")
@measuring_options
@click.option(
    "--out",
    "files",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Draw the curves to a .png, .svg or .html file; repeat it for several.",
)
@json_option
def command(
    targets: tuple[Path, ...],
    names: str | None,
    max_eps: float | None,
    attack: str,
    steps: int | None,
    eps: float | None,
    n: int | None,
    norm: str | None,
    batch_size: int,
    seed: int,
    device: str,
    files: tuple[Path, ...],
    as_json: bool,
    **made: Any,
) -> None:
    """Draw robust accuracy over the radius for several models.

    Each TARGET is a results document with distances (apx evaluate --protocol curve --out FILE.json), or a run directory
    or file of weights, which is evaluated by a minimum-norm attack first.

    \b
    Example:
      apx curve dense.json hydra.json --names dense,hydra --out curves.html --out curves.png
      apx curve runs/hydra-resnet18-digits-20261120-101500 --n 200 --out curve.svg
    """
    from apx.evaluation.security_curve import curves_of
    from apx.figures.curves import FORMATS, columns, rows, save_curves
    from apx.figures.files import figure_format

    for path in files:
        figure_format(path, FORMATS)  # a wrong suffix is told before hours of attacks
    labels = None if names is None else [name.strip() for name in names.split(",")]
    if labels is not None and len(labels) != len(targets):
        raise UserError(f"--names gives {len(labels)} labels for {len(targets)} models: give one for each, A,B,...")
    asked = Asked(eps=eps, n=n, norm=norm, batch_size=batch_size, seed=seed, device=device)
    models = [Model(target, made, asked) for target in targets]
    documents = [model.evaluated(attack, steps=steps) for model in models]
    curves = curves_of(documents, names=labels, threat_eps=eps, max_eps=max_eps)
    if norm is not None and curves[0].norm.lower() != norm.lower():
        raise UserError(f"the distances are {curves[0].norm}, not {norm}: evaluate the models in that norm first")
    for path in files:
        save_curves(curves, path)
    for model in models:
        model.finish()
    if as_json:
        print_json({"curves": [curve.as_dict() for curve in curves], "files": [str(path) for path in files]})
        return
    print_table(*columns(curves), rows=rows(curves))
    for path in files:
        click.echo(f"wrote {path}")
