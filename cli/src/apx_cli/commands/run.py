"""`apx run`: prune a network with a method and evaluate the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from apx.errors import UserError

from ..options import Assignment, Factor, word
from ..output import json_option, print_json, warn_of

if TYPE_CHECKING:
    from apx import Observer
    from apx.runner.interrupts import Interrupted
    from apx.runner.request import Request

_PATH = click.Path(path_type=Path)


@click.command(name="run")
@click.argument("method", required=False)
@click.option("--arch", metavar="NAME", help="resnet18 (default), vgg16, ..., timm:NAME or py:module:factory.")
@click.option("--width", type=int, help="Channels of the first stage, for small machines.")
@click.option("--dataset", metavar="NAME", help="digits (default), cifar10, ..., folder:PATH or py:module:factory.")
@click.option("--data-dir", metavar="DIR", help="Where data sets are and are downloaded to.")
@click.option("--structure", callback=word("structure"), metavar="US|S", help="Unstructured or structured.")
@click.option(
    "--granularity", callback=word("granularity"), metavar="NAME", help="weights, filters, channels, kernels."
)
@click.option("--schedule", callback=word("schedule"), metavar="1S|IT", help="One-shot or iterative.")
@click.option("--locality", callback=word("locality"), metavar="L|G", help="Local or global ranking.")
@click.option("--budget", callback=word("budget"), metavar="NAME", help="uniform, fixed-nonuniform, global, ...")
@click.option("--sparsity", type=float, help="Share to remove, in the variant's own unit: 0.9.")
@click.option("--preset", metavar="quick|paper", help="Settings: minutes on two cores (default), or the paper's.")
@click.option("--set", "assignments", multiple=True, type=Assignment(), help="One setting: finetune.epochs=20.")
@click.option("--epochs-scale", type=Factor(), metavar="F", help="Multiply all epochs by F.")
@click.option("--seed", type=click.IntRange(min=0), metavar="INTEGER", help="Seed of everything random (0).")
@click.option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
@click.option("--precision", metavar="auto|fp32|bf16", help="Precision of training.")
@click.option("--deterministic/--no-deterministic", default=None, help="Bitwise repeatable (default), or faster.")
@click.option(
    "--full-size", is_flag=True, default=None, help="Train structured networks whole, removed filters and all."
)
@click.option("--from", "from_checkpoint", metavar="CHECKPOINT", help="Prune one's own dense network.")
@click.option("--config", type=_PATH, metavar="RUN.JSON", help="Take the request of an earlier run; options win.")
@click.option("--out", type=_PATH, metavar="DIR", help="The run directory to make (runs/<name>).")
@click.option("--resume", type=_PATH, metavar="DIR", help="Continue a run; no other options go with it.")
@click.option("--eval", "evaluation", metavar="none|quick|standard", help="PGD-20 (default: quick), or AutoAttack.")
@click.option("--observer", "observers", multiple=True, metavar="NAME", help="A plugin's run observer: tensorboard.")
@click.option("--dry-run", is_flag=True, help="Show settings, phases, time and memory, and stop.")
@json_option
def command(
    out: Path | None,
    resume: Path | None,
    config: Path | None,
    observers: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Prune a network with METHOD and evaluate the result on the test set.

    The result is a run directory; an interrupted run continues with --resume. `apx list --implemented` shows the
    methods, `apx show METHOD` the variants that --structure, --schedule and the like choose from.

    \b
    Example:
      apx run twinrep --arch vgg16
      apx run hydra --dataset cifar10 --sparsity 0.95 --preset paper --eval standard
      apx run hydra --set finetune.epochs=5 --dry-run
    """
    asked["set"] = dict(asked.pop("assignments"))
    asked["eval"] = asked.pop("evaluation")
    given = {name: value for name, value in asked.items() if value is not None and value != {}}
    if resume is not None:
        if given or config is not None or out is not None or dry_run:
            raise UserError("--resume continues a run as it was asked: give no method and no other option with it")
        _continue(resume, observers, as_json)
        return
    request = _request(config, given)
    if dry_run:
        _preview(request, out, as_json)
    else:
        _start(request, out, observers, as_json)


def _request(config: Path | None, given: dict[str, Any]) -> Request:
    from apx import registry
    from apx.runner.request import Request, read_config

    document = read_config(config) if config is not None else {}
    given["set"] = {**document.get("set", {}), **given.get("set", {})}
    document = {**document, **given}
    if "method" not in document:
        raise UserError("which method? `apx run METHOD`; `apx list --implemented` shows the methods that run")
    document["method"] = registry.entry(document["method"]).slug
    return Request.from_document(document)


def _preview(request: Request, out: Path | None, as_json: bool) -> None:
    from apx.runner.plan import plan

    from ..plan import print_plan

    if out is not None and out.exists():
        raise UserError(f"the output directory {out} exists; choose another --out")
    found = plan(request)
    if _speaks(found["record"]["device"]):
        print_json(found) if as_json else print_plan(found)


def _start(request: Request, out: Path | None, observers: tuple[str, ...], as_json: bool) -> None:
    from apx.runner.interrupts import Interrupted
    from apx.runner.progress import default_progress
    from apx.runner.start import default_directory, start

    path = out or default_directory(request)
    try:
        report = start(request, out=path, progress=default_progress(), observers=_observers(observers))
    except Interrupted as signal:
        _stop(signal, path)
    _finish(report, as_json)


def _continue(path: Path, observers: tuple[str, ...], as_json: bool) -> None:
    from apx.runner.interrupts import Interrupted
    from apx.runner.progress import default_progress
    from apx.runner.start import resume

    try:
        report = resume(path, progress=default_progress(), observers=_observers(observers))
    except Interrupted as signal:
        _stop(signal, path)
    _finish(report, as_json)


def _finish(report: dict[str, Any], as_json: bool) -> None:
    from apx import registry

    from ..report import print_report

    if _speaks(report["record"]["device"]):
        warn_of(registry.failures())
        print_json(report) if as_json else print_report(report)


def _stop(signal: Interrupted, path: Path) -> NoReturn:
    from apx.runner.directory import RunDirectory

    if _speaks(RunDirectory.open(path).record()["device"]):
        click.echo(f"{signal}; continue with: apx run --resume {path}", err=True)
    raise click.exceptions.Exit(signal.exit_status)


def _speaks(device: str) -> bool:
    """Say whether this process tells what has come of a run on `device`: of several processes, one does."""
    from apx.training.processes import processes

    return processes(device).main


def _observers(names: tuple[str, ...]) -> list[Observer]:
    if not names:
        return []
    from apx.runner.observer import observers_named

    return observers_named(names)
