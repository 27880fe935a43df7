"""`apx analyze layers`: what adversarial examples do inside a network, and to versions of it with changed weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..options import Radius
from ..output import json_option, print_json, warn
from ..report import fraction
from ..shared_options import batch_size_option, device_option, made_options, n_option
from ..tables import print_table

if TYPE_CHECKING:
    from apx.analysis import WeightTransform

_GATES = ("as_code", "as_documented", "always")
_TARGETS = ("all", "conv_linear")
_RATES = {
    "CA": "clean_accuracy",
    "RA": "remnant_accuracy",
    "PCR": "prediction_change_rate",
    "SASR": "strict_attack_success_rate",
}


@click.command(name="layers")
@click.argument("target", metavar="RUN_OR_CHECKPOINT", type=click.Path(path_type=Path))
@click.option("--attack", "name", metavar="NAME", default="pgd", show_default=True, help="As `apx evaluate` takes it.")
@click.option("--eps", type=Radius(), help="Linf radius, 8/255 or a decimal; the data set's threat by default.")
@click.option("--steps", type=int, default=20, show_default=True, help="Steps of PGD, or of a plugin's attack.")
@click.option("--alpha", type=Radius(), help="Step size; eps/4 by default.")
@click.option("--round", "rounded", is_flag=True, help="Move the examples to multiples of 1/255, towards the images.")
@n_option
@click.option("--threshold", type=float, default=0.1, show_default=True, help="The |d| from which a unit has moved.")
@click.option("--decimals", type=int, metavar="INTEGER", help="Round the activations at every tap to so many decimals.")
@click.option("--channels", is_flag=True, help="Also print the first convolution channel by channel.")
@click.option("--transform", "asked", multiple=True, metavar="STEP", help="Change the weights: E=0.001, S=5 or R=0.01.")
@click.option("--sweep", is_flag=True, help="The whole grid: 8 strengths of E, 4 of S, 3 of R.")
@click.option("--gate", type=click.Choice(_GATES), default="as_code", show_default=True, help="When S clamps a tensor.")
@click.option("--targets", type=click.Choice(_TARGETS), default="all", show_default=True, help="Layers that change.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Number of draws of R's noise.")
@batch_size_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random starts, and R's first."
)
@device_option
@made_options
@json_option
def command(
    target: Path,
    name: str,
    eps: float | None,
    steps: int,
    alpha: float | None,
    rounded: bool,
    n: int | None,
    threshold: float,
    decimals: int | None,
    channels: bool,
    asked: tuple[str, ...],
    sweep: bool,
    gate: Any,
    targets: Any,
    seeds: int,
    batch_size: int,
    seed: int,
    device: str,
    as_json: bool,
    **made: Any,
) -> None:
    """Tell how far adversarial examples move the features of a network: a run directory, or a file of weights.

    With d the difference that an example makes to a layer's output F, the table tells |d|, the relative size of d, the
    share of units that moved, and how F is distributed on images and examples. The taps are the first convolution,
    every block's output and the logits.

    --transform and --sweep also change the weights and attack each changed network: E=e zeroes weights below e, S=s
    clamps a tensor's weights to s standard deviations round their mean, R=r adds uniform noise in [-r, r]. Told are
    clean accuracy (CA), remnant accuracy (RA), prediction change rate (PCR), strict attack success rate (SASR).

    \b
    Example:
      apx analyze layers runs/hydra-resnet18-digits-20261120-101500 --n 200
      apx analyze layers model.safetensors --arch resnet18 --dataset cifar10 --transform E=0.001 --transform S=5
    """
    transforms = _transforms(asked, sweep, gate, targets)  # a mistake is told before anything is loaded

    from apx.analysis import Attack, analyse_layers
    from apx.evaluation import ATTACKS, attacks_of
    from apx.evaluation.samples import draw
    from apx.runner.progress import default_progress
    from apx.runner.request import choose_device
    from apx.target import Made, open_target

    name = name.lower() if name.lower() in ATTACKS else name
    attacks_of(name, None)  # a name that is none is told before anything is loaded
    where = choose_device(device)
    opened = open_target(target, Made(**made))
    radius = opened.data.threat_eps if eps is None else eps
    attack = Attack(radius, name, steps=steps, alpha=alpha, seed=seed, rounded=rounded)
    samples = draw(opened.data.test, n)
    progress = default_progress()
    try:
        found = analyse_layers(
            opened.module.to(where),
            samples,
            attack,
            threshold=threshold,
            decimals=decimals,
            transforms=transforms,
            seeds=range(seed, seed + seeds),
            batch_size=batch_size,
            progress=progress,
        )
    finally:
        progress.close()
    document = {**opened.facts, "split": "test", **found}
    print_json(document) if as_json else _print(document, channels)


def _transforms(asked: tuple[str, ...], sweep: bool, gate: Any, targets: Any) -> list[WeightTransform]:
    if not asked and not sweep:
        return []
    from dataclasses import replace

    from apx.analysis import GRID, parse_transform

    given = [parse_transform(text, gate=gate, targets=targets) for text in asked]
    grid = [replace(one, gate=gate, targets=targets) for one in GRID] if sweep else []
    return list(dict.fromkeys([*given, *grid]))


def _print(document: Mapping[str, Any], channels: bool) -> None:
    attack = document["attack"]
    click.echo(
        f"{document['target']}: {document['images']} of {document['dataset']}, {document['split']} split; "
        f"{_attack(attack)}, largest change {document['largest_change']:.4g}"
    )
    click.echo(f"network as it is: {_rates(document['rates'])}")
    if document["decimals"] is not None:
        step = f"multiples of {10.0 ** -document['decimals']:g}"
        click.echo(f"activations rounded to {step}, same examples: {_rates(document['rates_rounded'])}")
    click.echo()
    columns = (
        "layer",
        "shape",
        "mean |d|",
        "max |d|",
        "|d|2 / |F|2",
        f"|d| > {document['threshold']:g}",
        "mean F",
        "of x_adv",
        "std F",
        "of x_adv",
        "kurtosis F",
        "of x_adv",
    )
    print_table(*columns, rows=[_layer(layer) for layer in document["layers"]])
    if channels:
        _print_channels(document["stem"])
    if document["transforms"]:
        click.echo()
        rows = [_transform(row) for row in document["transforms"]]
        print_table("transform", "touched", *_RATES, rows=rows)
        if any(len(row["seeds"]) > 1 for row in document["transforms"]):
            click.echo("of several draws of the noise: mean (lowest to highest)")


def _attack(attack: Mapping[str, Any]) -> str:
    steps = f"-{attack['steps']}" if attack["name"] == "pgd" else ""
    rounded = ", examples rounded to 1/255" if attack["rounded"] else ""
    return f"{attack['name'].upper()}{steps}, Linf {fraction(attack['eps'])}{rounded}"


def _rates(rates: Mapping[str, float]) -> str:
    return ", ".join(f"{short} {rates[name]:.1%}" for short, name in _RATES.items())


def _layer(layer: Mapping[str, Any]) -> tuple[str, ...]:
    pair = (layer["clean"], layer["adversarial"])
    kurtosis = ["-" if one["kurtosis"] is None else f"{one['kurtosis']:.1f}" for one in pair]
    return (
        layer["layer"],
        "x".join(map(str, layer["shape"])),
        f"{layer['mean_abs']:.4f}",
        f"{layer['max_abs']:.3f}",
        "-" if layer["relative"] is None else f"{layer['relative']:.3f}",
        f"{layer['above']:.1%}",
        *(f"{one['mean']:.3f}" for one in pair),
        *(f"{one['std']:.3f}" for one in pair),
        *kurtosis,
    )


def _print_channels(stem: Mapping[str, Any]) -> None:
    if stem["layer"] is None:
        warn("the network has no convolution, so there is nothing to print by --channels")
        return
    click.echo()
    rows = []
    for number, channel in enumerate(stem["channels"]):
        d, clean, adversarial = (channel[name] for name in ("difference", "clean", "adversarial"))
        rows.append(
            (
                str(number),
                *(f"{d[name]:.3f}" for name in ("min", "max", "mean", "std")),
                *(f"{one['mean']:.3f} ({one['std']:.3f})" for one in (clean, adversarial)),
            )
        )
    columns = ("least d", "largest d", "mean d", "std d", "mean F (std)", "of x_adv")
    print_table(f"channel of {stem['layer']}", *columns, rows=rows)


def _transform(row: Mapping[str, Any]) -> tuple[str, ...]:
    label = "none" if row["transform"] is None else row["transform"]["label"]
    several = len(row["rates"]) > 1
    return (label, f"{row['ratio']:.4%}", *(_spread(row[name], several) for name in _RATES.values()))


def _spread(value: Mapping[str, float], several: bool) -> str:
    return f"{value['mean']:.1%}" + (f" ({value['low']:.1%} to {value['high']:.1%})" if several else "")
