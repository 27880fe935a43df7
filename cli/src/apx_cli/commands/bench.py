"""`apx bench`: milliseconds of a network's dense, masked and shrunk form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from ..output import json_option, print_json
from ..shared_options import made_options
from ..tables import print_table

if TYPE_CHECKING:
    from apx.latency import Speed


@click.command(name="bench")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", type=click.Path(path_type=Path))
@click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 64),
    show_default=True,
    help="Images per pass; repeat it for several.",
)
@click.option(
    "--device", metavar="auto|cpu|cuda|all", default="all", show_default=True, help="Where; all: CPU, and CUDA if any."
)
@click.option("--threads", type=click.IntRange(min=1), metavar="INTEGER", help="CPU threads; all cores by default.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="About how long each form is timed per batch size.",
)
@click.option("--rounds", type=click.IntRange(min=2), default=15, show_default=True, help="In how many turns.")
@made_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the document here (one TARGET); into a run directory's latency.json by default.",
)
@json_option
def command(
    targets: tuple[Path, ...],
    batch_sizes: tuple[int, ...],
    device: str,
    threads: int | None,
    seconds: float,
    rounds: int,
    out: Path | None,
    as_json: bool,
    **made: Any,
) -> None:
    """Time a network as it is, with its zeros filled, and without its dead filters.

    The three take turns, so that a busy machine slows all of them alike. Of a run directory the numbers are kept in it,
    where the leaderboard and the report find them.

    \b
    Example:
      apx bench runs/hydra-vgg16-digits-20261120-101500
      apx bench model.safetensors --arch resnet18 --dataset cifar10 --batch-size 1 --device cpu
    """
    if out is not None and len(targets) > 1:
        raise UserError(f"--out {out} takes one TARGET, not {len(targets)}: leave it out, or time them one by one")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent} for {out.name}: make it, or choose another --out")
    from apx.latency import measure_speed
    from apx.target import Made, open_target

    places, documents = _devices(device), []
    for target in targets:
        opened = open_target(target, Made(**made))
        speed = measure_speed(
            opened.module,
            opened.example(),
            batch_sizes=batch_sizes,
            devices=places,
            threads=threads,
            seconds=seconds,
            rounds=rounds,
        )
        document = {"target": opened.facts["target"], **speed.document(), **_circumstances()}
        documents.append(document)
        if not as_json:
            _show(str(target), speed)
        _keep(out or _kept_at(target), document)
    if as_json:
        print_json({"results": documents})


def _devices(asked: str) -> list[Any]:
    from apx.runner.request import choose_device

    if asked != "all":
        return [choose_device(asked)]
    cpu, best = choose_device("cpu"), choose_device("auto")
    return [cpu] if best == cpu else [cpu, best]


def _circumstances() -> dict[str, Any]:
    from datetime import UTC, datetime

    from apx.evaluation.document import versions

    return {"versions": versions(), "created": datetime.now(UTC).isoformat(timespec="seconds")}


def _kept_at(target: Path) -> Path | None:
    from apx.runs import LATENCY, RECORD

    return target / LATENCY if (target / RECORD).is_file() else None


def _keep(file: Path | None, document: dict[str, Any]) -> None:
    from apx.paths import atomic_write

    if file is not None:
        atomic_write(file, (json.dumps(document, indent=2) + "\n").encode())
        click.echo(f"wrote {file}", err=True)


def _show(name: str, speed: Speed) -> None:
    click.echo(name)
    rows = [
        (
            one.form,
            f"{one.device}, {one.threads} threads" if one.device == "cpu" else one.device,
            str(one.batch_size),
            f"{1000 * one.median:.3g} ({1000 * one.low:.3g} to {1000 * one.high:.3g})",
            f"{one.images_per_second:.0f}",
            f"{speed.weights[one.form]:,}",
            f"{speed.flops[one.form] / 1e6:.1f}",
        )
        for one in speed.latencies
    ]
    headings = ("form", "device", "batch", "ms (quartiles)", "images/s", "weights", "MFLOPs")
    print_table(*headings, rows=rows)
    for sentence in speed.sentences():
        click.echo(sentence)
