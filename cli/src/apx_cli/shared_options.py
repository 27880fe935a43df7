"""Options that several commands take, so that one thing has one name, one range of values and one sentence of help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .options import Radius

NORMS = ("Linf", "L2", "L1", "L0")

eps_option = click.option("--eps", type=Radius(), help="Radius, 8/255 or a decimal; the data set's threat by default.")
n_option = click.option(
    "--n", type=click.IntRange(min=1), metavar="INTEGER", help="Number of test images; all by default."
)
steps_option = click.option("--steps", type=int, help="Steps of an attack that takes them; 20 for pgd by default.")
batch_size_option = click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="INTEGER", default=128, show_default=True,
    help="Images per pass.",
)  # fmt: skip
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), metavar="INTEGER", default=0, show_default=True,
    help="Seed of all random starts.",
)  # fmt: skip
device_option = click.option(
    "--device", metavar="auto|cpu|cuda", default="auto", show_default=True, help="Where to compute."
)


def made_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a checkpoint's network was made, for files that do not record it."""
    for option in (
        click.option("--zoo", metavar="PLACE", help="Where a model key's file is: a folder, hf:owner/name, or drive."),
        click.option("--data-dir", metavar="DIR", help="Where data sets are and are downloaded to."),
        click.option("--dataset", metavar="NAME", help="The data of a checkpoint that does not record it."),
        click.option("--width", type=int, help="The width of a checkpoint that does not record it."),
        click.option("--arch", metavar="NAME", help="The network of a checkpoint that does not record it."),
    ):
        function = option(function)
    return function
