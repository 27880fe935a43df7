"""`apx quantize`: a network in 8 bits, beside itself in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from ..options import Radius
from ..output import json_option, print_json, size, warn
from ..progress import evaluation_progress
from ..report import accuracy, attack_name, fraction
from ..shared_options import made_options, n_option, seed_option, steps_option
from ..tables import print_table

if TYPE_CHECKING:
    from torch import Tensor

    from apx.datasets import Split
    from apx.quantisation import Comparison, QuantisationReport


@click.command(name="quantize")
@click.argument("target", metavar="RUN_OR_CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    type=click.IntRange(min=1),
    metavar="INTEGER",
    default=512,
    show_default=True,
    help="Training images on which the ranges of the activations are seen.",
)
@click.option("--attack", metavar="NAME", default="pgd", show_default=True, help="As for `apx evaluate`.")
@click.option("--eps", type=Radius(), help="Linf radius, 8/255 or a decimal; the data set's threat by default.")
@n_option
@steps_option
@seed_option
@click.option("--device", metavar="auto|cpu|cuda", default="auto", show_default=True, help="Where to attack.")
@made_options
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Save the quantised network here.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@json_option
def command(
    target: Path,
    calibration: int,
    attack: str,
    eps: float | None,
    n: int | None,
    steps: int | None,
    seed: int,
    device: str,
    out: Path | None,
    force: bool,
    as_json: bool,
    **made: Any,
) -> None:
    """Quantise a network to 8 bits after training, zeros kept, and attack both.

    Weights are int8 per channel, activations uint8 with ranges from training images. Each network is attacked through
    its own gradients (the straight-through estimator in the quantised one), and the images that fool the float32
    network are shown to the quantised one. --out saves a safetensors file that `apx evaluate` opens.

    \b
    Example:
      apx quantize runs/hydra-resnet18-digits-20261120-101500 --out hydra-int8.safetensors
    """
    if out is not None and out.exists() and not force:
        raise UserError(f"the file {out} exists: choose another --out, or replace it with --force")

    from apx.evaluation import attacks_of
    from apx.quantisation import compare, quantise, save_quantised
    from apx.runner.request import choose_device
    from apx.target import Made, open_target

    parameters = {} if steps is None else {"steps": steps}
    attacks_of(attack, None, parameters)  # a name that is none is told before anything is loaded
    where = choose_device(device)
    opened = open_target(target, Made(**made))
    quantised = quantise(opened.module, _images(opened.data.train, calibration))
    if out is not None:
        save_quantised(out, quantised.module, opened.metadata())
    compared = compare(
        opened.module,
        quantised.module,
        opened.data.test,
        attack=attack,
        eps=opened.data.threat_eps if eps is None else eps,
        parameters=parameters,
        n=n,
        device=where,
        seed=seed,
        tuning=opened.data.val,
        target=opened.facts,
        progress=_progress(len(opened.data.test) if n is None else n),
    )
    if as_json:
        saved = None if out is None else str(out)
        print_json({"quantisation": quantised.report.document(), **compared.document(), "file": saved})
    else:
        _show(quantised.report, compared, out)


def _progress(n: int) -> Callable[[str], Callable[[int, int, int], None]]:
    """Say on stderr which of the three evaluations begins, and how far it is."""
    names = {"float32": "float32 attacked", "int8": "int8 attacked", "transfer": "float32 attacked, int8 judging"}

    def begin(name: str) -> Callable[[int, int, int], None]:
        click.echo(f"{names[name]}:", err=True)
        return evaluation_progress(n)

    return begin


def _images(train: Split, count: int) -> Tensor:
    """Return `count` training images (all where there are fewer), always the same, float [count, C, H, W]."""
    from apx.datasets import to_float
    from apx.randomness import keyed_permutation

    return to_float(train.images[keyed_permutation(len(train), 0, "calibration")[:count]])


def _show(report: QuantisationReport, compared: Comparison, out: Path | None) -> None:
    print_table("", "float32", "int8", rows=_rows(report, compared))
    click.echo(f"both predict the same class of {compared.agreement:.1%} of the {compared.float32['n']} test images")
    if compared.transferred is not None:
        click.echo(
            f"of the images broken in float32, the same attack on float32 breaks {compared.transferred:.1%} in int8"
        )
    click.echo(
        f"quantised {report.layers} layers on {report.calibration_images} training images; "
        f"{report.rounded_to_zero:,} of {report.weights - report.zeros_before:,} weights other than zero became zero; "
        f"the attacked simulation's logits are within {report.logits_difference:.1g} of the int8 program's"
    )
    if out is not None:
        click.echo(f"wrote {out}, {size(out.stat().st_size)}")
    documents = (compared.float32, compared.int8, compared.transfer)
    for text in dict.fromkeys(warning["text"] for document in documents for warning in document["warnings"]):
        warn(text)
    if compared.masked:
        warn("the attack on float32 breaks the int8 network more often than that on itself, which is too optimistic")


def _rows(report: QuantisationReport, compared: Comparison) -> list[tuple[str, ...]]:
    of_float, of_int8, before_after = compared.float32, compared.int8, report.sparsity
    rows: list[tuple[str, ...]] = [("clean accuracy", *_both("clean_accuracy", of_float, of_int8))]
    if of_float["robust_accuracy"] is not None:
        attack = f"{attack_name(of_float['attacks'])} at {fraction(of_float['threat']['eps'])}"
        rows.append((f"{attack} accuracy, each attacked itself", *_both("robust_accuracy", of_float, of_int8)))
        rows.append((f"{attack} accuracy, float32 attacked", *_both("robust_accuracy", of_float, compared.transfer)))
    rows.append(("reported sparsity", *(f"{share:.2%}" for share in before_after)))
    rows.append(("size", size(report.bytes_before), size(report.bytes_after)))
    return rows


def _both(key: str, *documents: dict[str, Any]) -> list[str]:
    return [accuracy(document[key]) for document in documents]
