"""`apx analyze ice`: which samples pruning loses and wins, and how close they lie to the dense model's boundary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from ..measuring import Asked, Model, measuring_options
from ..output import json_option, print_json
from ..tables import print_table

if TYPE_CHECKING:
    from apx.analysis.overlap import Comparison, Overlap


@click.command(name="ice")
@click.argument("dense", type=click.Path(path_type=Path))
@click.argument("pruned", type=click.Path(path_type=Path))
@click.option("--attack", metavar="NAME", default="pgd", show_default=True, help="What attacks both networks.")
@click.option(
    "--distances",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results document of DENSE with distances (--attack fmn), where DENSE is a document without them.",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="INTEGER", help="Steps of the attack.")
@click.option("--fmn-steps", type=click.IntRange(min=1), metavar="INTEGER", help="Steps of the minimum-norm attack.")
@click.option("--transfer", is_flag=True, help="Show PRUNED the adversarial images of DENSE instead of attacking it.")
@click.option("--margin", is_flag=True, help="Also tell the logit margins of DENSE, which must be a network.")
@measuring_options
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Draw the figure to a .png or .svg file.")
@json_option
def command(
    dense: Path,
    pruned: Path,
    attack: str,
    distances: Path | None,
    steps: int | None,
    fmn_steps: int | None,
    transfer: bool,
    margin: bool,
    eps: float | None,
    n: int | None,
    norm: str | None,
    batch_size: int,
    seed: int,
    device: str,
    out: Path | None,
    as_json: bool,
    **made: Any,
) -> None:
    """Say which samples pruning loses and wins, and whether they were on thin ice.

    DENSE and PRUNED are run directories, files of weights, or results documents (apx evaluate --out FILE.json).
    Networks are each attacked by --attack, and DENSE by the minimum-norm attack FMN, which gives the distances to its
    boundary.

    \b
    Sets, by who is right:
      S11 both   S10 the dense model only   S01 the pruned model only   S00 neither

    \b
    Example:
      apx analyze ice dense.safetensors runs/hydra-resnet18-digits-20261120-101500 --n 200 --out ice.png
    """
    from apx.analysis.overlap import compare, outcomes_of
    from apx.figures.files import figure_format
    from apx.figures.ice import FORMATS, save_ice

    if out is not None:
        figure_format(out, FORMATS)
    attack = _known(attack)
    asked = Asked(eps=eps, n=n, norm=norm, batch_size=batch_size, seed=seed, device=device)
    first, second = (Model(target, made, asked) for target in (dense, pruned))
    if first.stored != second.stored:  # the network is to meet what the document's has met
        document = (first if first.stored else second).document
        threat = document["threat"]
        asked = replace(asked, eps=eps or threat["eps"], norm=norm or threat["norm"], n=n or document["n"])
        first, second = (Model(target, made, asked) for target in (dense, pruned))
    if margin and first.stored:
        raise UserError(f"--margin needs the dense network, not {dense}: give its run directory or file of weights")
    if transfer and (first.stored or second.stored):
        raise UserError("--transfer needs both networks, no documents: give their run directories or files of weights")
    attacked = outcomes_of(first.evaluated(attack, steps=steps))
    of_pruned = outcomes_of(second.evaluated(attack, steps=steps, source=first if transfer else None))
    measured = attacked  # which has distances already where the attack is a minimum-norm one
    if distances is not None:
        measured = outcomes_of(Model(distances, made, asked).document)
    elif measured.distances is None and not first.stored:
        measured = outcomes_of(first.evaluated("fmn", steps=fmn_steps))
    found = compare(attacked, of_pruned, measured=measured, margins=_margins(first, asked) if margin else None)
    if out is not None:
        save_ice(found, out)
    for model in (first, second):
        model.finish()
    if as_json:
        print_json(found.as_dict())
        return
    _print(found)
    if out is not None:
        click.echo(f"wrote {out}")


def _known(attack: str) -> str:
    """Return the attack's name; one that is none is told before anything is loaded."""
    from apx.evaluation import ATTACKS, attacks_of

    name = attack.lower() if attack.lower() in ATTACKS else attack
    attacks_of(name, None)
    return name


def _margins(dense: Model, asked: Asked) -> list[float]:
    from apx.analysis.logit_margin import logit_margins

    opened = dense.opened
    margins = logit_margins(
        opened.module, opened.data.test, n=asked.n, batch_size=asked.batch_size, device=dense.device
    )
    return margins.tolist()


def _print(found: Overlap) -> None:
    from apx.figures.ice import MEANINGS
    from apx.figures.style import distance_text, radius

    clean, attacked = found.clean, found.adversarial
    margins = attacked.margins
    rows = []
    for name, meaning in MEANINGS.items():
        row = [f"{name} {meaning}", *(_part(partition.count(name), found.n) for partition in (clean, attacked))]
        row += [distance_text(attacked.distances[name].median), distance_text(attacked.distances[name].mean)]
        rows.append(row if margins is None else [*row, distance_text(margins[name].median)])
    columns = ["set", "clean", "under attack", "median distance", "mean distance"]
    print_table(*columns, *([] if margins is None else ["median margin"]), rows=rows)
    attack = " + ".join(found.dense.attacks) or "no attack"
    click.echo(
        f"{found.n} images of {found.dense.data}; {attack}, {found.dense.norm} {radius(found.dense.eps)}; "
        "distances to the dense model's boundary, of the sets under attack"
    )
    for which in ("dense", "pruned"):
        accuracies = [getattr(partition, f"accuracy_{which}") for partition in (clean, attacked)]
        click.echo(f"{which}: clean accuracy {accuracies[0]:.1%}, robust accuracy {accuracies[1]:.1%}")
    for comparison in attacked.comparisons:
        click.echo(_sentence(comparison))


def _part(count: int, n: int) -> str:
    return f"{count} ({count / n:.1%})"


def _sentence(comparison: Comparison) -> str:
    measure = {"distance": "distance to the boundary", "gap": "distance from eps to the boundary"}[comparison.measure]
    pair = f"{comparison.first} against {comparison.second}"
    if comparison.p_value is None or comparison.below is None:
        return f"{measure}, {pair}: not tested, one of them is empty"
    return (
        f"{measure}, {pair}: smaller in {comparison.below:.1%} of the pairs (Mann-Whitney p = {comparison.p_value:.2g})"
    )
