"""`apx analyze weights`: which weights a method kept, beside those that magnitude pruning would have kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..output import json_option, print_json, warn
from ..shared_options import made_options
from ..tables import print_table

_SHOWN = (0.05, 0.5, 0.95)  # quantiles of |w| in the table; --json has all


@click.command(name="weights")
@click.argument("pruned", metavar="RUN_OR_CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "--dense",
    type=click.Path(path_type=Path),
    metavar="RUN_OR_CHECKPOINT",
    help="The network before pruning; the run's own where its method prunes a trained network.",
)
@click.option(
    "--granularity",
    metavar="NAME",
    help="What is ranked: weights, filters, channels, kernels, columns; what the run's method removes by default.",
)
@made_options
@json_option
def command(pruned: Path, dense: Path | None, granularity: str | None, as_json: bool, **made: Any) -> None:
    """Tell which weights a pruned network kept, and whether magnitude pruning would have kept the same.

    In each layer, as many weights (filters, ...) as were kept are taken by their magnitude in the dense network. Told
    are the share of the kept weights among these, beside the share that a random choice would reach, and the
    magnitudes of kept and removed weights. --json adds more quantiles and histograms.

    \b
    Example:
      apx analyze weights runs/hydra-resnet18-digits-20261120-101500
      apx analyze weights pruned.safetensors --dense dense.pt --arch resnet18 --dataset cifar10
    """
    from apx.analysis import compare_weights, open_pruned
    from apx.target import Made

    found = open_pruned(pruned, dense, Made(**made))
    comparison = compare_weights(found.dense, found.masks, granularity=granularity or found.granularity)
    document = {
        "target": found.opened.facts["target"],
        "method": found.opened.facts["method"],
        "dense": found.dense_origin,
        **comparison.document(),
    }
    zeros = sum(int((found.dense[name] == 0).sum()) for name in found.masks)
    share = zeros / sum(mask.numel() for mask in found.masks.values())
    if share > 0.01:
        warn(f"{share:.0%} of the weights of the dense network ({found.dense_origin}) are zero: it looks pruned")
    print_json(document) if as_json else _print(document)


def _print(document: Mapping[str, Any]) -> None:
    click.echo(f"{document['target']}; dense network: {document['dense']}")
    click.echo()
    places = [document["quantiles"].index(level) for level in _SHOWN]
    layers = document["layers"]
    units = {layer["granularity"] for layer in layers}
    columns = (
        "layer",
        "weights",
        "kept",
        "sparsity",
        "by magnitude",
        "by chance",
        "Jaccard",
        "kept |w|",
        "removed |w|",
    )
    rows = [(*_row(layer["layer"], layer), *_sizes(layer, places)) for layer in layers]
    rows.append((*_row("all pruned layers", document["total"]), "", ""))
    print_table(*columns, rows=rows)
    levels = ", ".join(f"{level:.0%}" for level in _SHOWN)
    click.echo(f"|w|: the dense network's magnitudes, quantiles {levels}; compared by {' and '.join(sorted(units))}")


def _row(name: str, layer: Mapping[str, Any]) -> tuple[str, ...]:
    if layer["kept"] == layer["weights"]:
        return (name, f"{layer['weights']:,}", f"{layer['kept']:,}", "0.0%", "-", "-", "-")
    return (
        name,
        f"{layer['weights']:,}",
        f"{layer['kept']:,}",
        f"{layer['sparsity']:.1%}",
        _number(layer["by_magnitude"], ".1%"),
        _number(layer["by_chance"], ".1%"),
        _number(layer["jaccard"], ".3f"),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _sizes(layer: Mapping[str, Any], places: Sequence[int]) -> tuple[str, str]:
    kept, removed = layer["kept_magnitudes"], layer["removed_magnitudes"]
    return _quantiles(kept, places), _quantiles(removed, places)


def _quantiles(values: Sequence[float] | None, places: Sequence[int]) -> str:
    return "-" if values is None else " ".join(f"{values[place]:.4f}" for place in places)
