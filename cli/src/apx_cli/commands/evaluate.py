"""`apx evaluate`: attack a network and print what is left of its accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from ..options import Assignment
from ..output import json_option, print_json
from ..progress import evaluation_progress
from ..shared_options import (
    NORMS,
    batch_size_option,
    device_option,
    eps_option,
    made_options,
    n_option,
    seed_option,
    steps_option,
)

if TYPE_CHECKING:
    from apx.target import Opened


def _attack_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--source", type=click.Path(path_type=Path), metavar="TARGET", help="Attack this one, test TARGET."
        ),
        click.option("--norm", type=click.Choice(NORMS, case_sensitive=False), default="Linf", show_default=True),
        eps_option,
        click.option(
            "--set",
            "assignments",
            type=Assignment(),
            multiple=True,
            metavar="KEY=VALUE",
            help="A parameter of the attack, as restarts=5.",
        ),
        steps_option,
        click.option(
            "--attack",
            metavar="NAME",
            help="A single attack in place of a protocol: clean, fgsm, pgd, cw, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, "
            "square, autoattack, autoattack-plus, fmn, ho-fmn, shift, occlusion, or what a plugin offers.",
        ),
        click.option(
            "--protocol",
            metavar="NAME",
            help="quick (PGD-20, the default), standard (AutoAttack), plus, curve, sanity, full, benchmark2024.",
        ),
    ):
        function = option(function)
    return function


@click.command(name="evaluate")
@click.argument("target", type=click.Path(path_type=Path))
@_attack_options
@n_option
@batch_size_option
@seed_option
@device_option
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the attacked copy; verdicts are always in float32.",
)
@click.option("--no-prepare", is_flag=True, help="Attack the network as it is, not its faster copy.")
@made_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the results document here; into the run directory's evaluations/ by default.",
)
@json_option
def command(
    target: Path,
    attack: str | None,
    protocol: str | None,
    assignments: tuple[tuple[str, Any], ...],
    source: Path | None,
    eps: float | None,
    n: int | None,
    device: str,
    no_prepare: bool,
    out: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Attack a network on the test set: TARGET is a run directory, a file of weights, the key of a
    published network, or py:module:factory.

    An evaluation that was killed goes on where it was when the same command is given again. The results document, with
    what happened to each image, is kept in the run directory, where leaderboard, report and submit find it; --out
    writes it elsewhere, --json prints it.

    \b
    Example:
      apx evaluate runs/hydra-resnet18-digits-20261120-101500 --protocol standard --n 200
      apx evaluate model.safetensors --arch resnet18 --dataset cifar10 --attack pgd --set restarts=5 --eps 8/255
    """
    from apx.evaluation import Journal, attacks_of, evaluate
    from apx.runner.request import choose_device
    from apx.target import Made

    attack, protocol, parameters = _chosen(attack, protocol, asked.pop("steps"), dict(assignments))
    attacks_of(attack, protocol, parameters)  # a name that is none is told before anything is loaded
    _check_out(out)
    where, journal = choose_device(device), Journal.at_home()
    made = Made(**{name: asked.pop(name) for name in ("arch", "dataset", "width", "data_dir", "zoo")})
    opened, other = _open(target, source, made)
    document = evaluate(
        opened.module.to(where),
        opened.data.test,
        attack=attack,
        protocol=protocol,
        parameters=parameters,
        eps=opened.data.threat_eps if eps is None else eps,
        n=n,
        device=where,
        prepare=not no_prepare,
        source=None if other is None else other.module,
        tuning=opened.data.val,
        classes=opened.data.num_classes,
        target={**opened.facts, **({"source": str(source)} if source is not None else {})},
        progress=evaluation_progress(len(opened.data.test) if n is None else n),
        journal=journal,
        **asked,
    )
    _show(document, out or _kept_at(target, document), as_json)
    journal.discard()


def _chosen(
    attack: str | None, protocol: str | None, steps: int | None, parameters: dict[str, Any]
) -> tuple[str | None, str | None, dict[str, Any]]:
    """Return attack, protocol and the attack's parameters; PGD-20 where nothing is asked for."""
    if attack is not None and protocol is not None:
        raise UserError(f"--attack {attack} and --protocol {protocol} exclude each other: give one")
    parameters = parameters if steps is None else {"steps": steps, **parameters}
    if attack is None and protocol is None:
        return ("pgd", None, parameters) if parameters else (None, "quick", {})
    from apx.evaluation import ATTACKS, PROTOCOLS

    if attack is not None and attack.lower() in ATTACKS:
        attack = attack.lower()
    if protocol is not None and protocol.lower() in PROTOCOLS:
        protocol = protocol.lower()
    return attack, protocol, parameters


def _check_out(out: Path | None) -> None:
    if out is not None and not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent} for {out.name}: make it, or choose another --out")


def _open(target: Path, source: Path | None, made: Any) -> tuple[Opened, Opened | None]:
    from apx.target import Made, open_target

    opened = open_target(target, made)
    if source is None:
        return opened, None
    own = Made(dataset=opened.made.dataset, data_dir=made.data_dir, zoo=made.zoo)  # whatever else it is, it says
    other = open_target(source, own)
    if other.data.num_classes != opened.data.num_classes or other.data.image_shape != opened.data.image_shape:
        raise UserError(
            f"{source} was made for {other.data.name}, {target} for {opened.data.name}: a transfer attack needs two "
            "networks for the same images and classes"
        )
    return opened, other


def _kept_at(target: Path, document: dict[str, Any]) -> Path | None:
    """Return where the document belongs if a run was evaluated; a file of weights has no such place."""
    from apx.runs import RECORD, evaluation_file

    return evaluation_file(target, document) if (target / RECORD).is_file() else None


def _show(document: dict[str, Any], out: Path | None, as_json: bool) -> None:
    import json

    from apx.paths import atomic_write

    from ..report import print_results

    if out is not None:
        atomic_write(out, (json.dumps(document, indent=2) + "\n").encode())
    print_json(document) if as_json else print_results(document)
    if out is not None:
        click.echo(f"wrote {out}", err=True)
