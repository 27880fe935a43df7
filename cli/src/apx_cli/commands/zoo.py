"""`apx zoo`: published networks by key: which there are, downloaded, converted, verified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from ..output import json_option, print_json
from ..tables import print_table

if TYPE_CHECKING:
    from apx.zoo.record import Record

zoo_option = click.option(
    "--zoo",
    metavar="PLACE",
    help="A folder, hf:owner/name, or drive (Google Drive); $APX_ZOO by default, else drive.",
)


@click.group(name="zoo")
def command() -> None:
    """List, download, convert and verify published networks by their keys.

    A key names method, paper, architecture, data, structure and sparsity: HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90.
    Commands that take a run directory or a file of weights, such as apx evaluate, take a key too.

    \b
    Example:
      apx zoo list --method hydra --available
      apx zoo load HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90 --out hydra.safetensors
    """


@command.command(name="list")
@click.option("--method", multiple=True, metavar="NAME", help="A method, by slug, name or key.")
@click.option("--arch", multiple=True, metavar="NAME", help="R18 (resnet18) or V16 (vgg16).")
@click.option("--dataset", multiple=True, metavar="NAME", help="cifar10 or svhn.")
@click.option("--structure", multiple=True, metavar="NAME", help="US (unstructured) or S (structured).")
@click.option("--sparsity", multiple=True, type=float, metavar="PERCENT", help="90, 95, 99 for US; 50, 75, 90 for S.")
@click.option("--available", is_flag=True, help="Only keys with a checkpoint.")
@click.option("--zoo", metavar="FOLDER", help="The networks of a folder, in place of the benchmark's keys.")
@json_option
def list_keys(as_json: bool, zoo: str | None, available: bool, **filters: Any) -> None:
    """List the benchmark's 154 keys, and what was published of each; or the networks of a folder.

    Filters combine; a filter given twice accepts either value.

    \b
    Example:
      apx zoo list --structure S --arch vgg16 --available
      apx zoo list --method harp --sparsity 99 --json
      apx zoo list --zoo my-zoo
    """
    from apx.zoo.listing import listed, recorded

    if zoo is not None:
        _print_records(recorded(zoo, **filters), as_json)
        return
    entries = listed(available=available, **filters)
    if as_json:
        print_json([entry.as_dict() for entry in entries])
        return
    if not entries:
        click.echo("no key is all of that", err=True)
        return
    rows = [(str(one.key), one.slug, one.status, "yes" if one.distances else "-") for one in entries]
    print_table("key", "method", "published", "distances", rows=rows)
    click.echo(f"{len(entries)} keys")


def _print_records(records: Sequence[Record], as_json: bool) -> None:
    if as_json:
        print_json([json.loads(one.encoded()) for one in records])
        return
    rows = [
        (str(one.key), one.arch, f"{one.sparsity:.2%}", "none" if one.normalisation is None else "inside",
         "yes" if one.distances else "-")
        for one in records
    ]  # fmt: skip
    print_table("key", "network", "zeros", "normalisation", "distances", rows=rows)
    click.echo(f"{len(records)} networks")


@command.command()
@click.argument("key")
@json_option
def info(key: str, as_json: bool) -> None:
    """Show what is known of KEY: its files, its printed accuracies, what is on this machine.

    \b
    Example:
      apx zoo info HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90
    """
    from apx.zoo.listing import described

    found = described(key)
    if as_json:
        print_json(found)
        return
    printed = found["published"]
    facts = {
        "key": found["key"],
        "method": found["method"],
        "network": " or ".join(found["networks"]),
        "data": found["dataset"],
        "published": found["status"],
        "checkpoint": _urls(found["checkpoints"]),
        "distances": _urls([found["distances"]] if found["distances"] else []),
        "printed": f"clean {printed['clean']}%, robust {printed['robust']}% ({printed['leaderboard']})"
        if printed
        else "-",
        "here": ", ".join(one["path"] for one in found["kept"]) or "-",
    }
    _print_facts(facts, found["remarks"])


@command.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--distances", is_flag=True, help="The minimum-norm distances too, where there are any.")
@click.option("--force", is_flag=True, help="Download again what is here.")
@zoo_option
@json_option
def download(keys: tuple[str, ...], distances: bool, force: bool, zoo: str | None, as_json: bool) -> None:
    """Download the checkpoints of KEYs into the cache; what is here already is compared with its SHA-256.

    \b
    Example:
      apx zoo download HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90 --distances
    """
    from apx.zoo import download_key, read_key

    wanted = [read_key(key) for key in keys]  # a wrong key is told before the first download
    paths = {str(key): download_key(key, zoo=zoo, distances=distances, again=force) for key in wanted}
    if as_json:
        print_json({key: [str(path) for path in found] for key, found in paths.items()})
        return
    for found in paths.values():
        for path in found:
            click.echo(str(path))


@command.command()
@click.argument("key")
@click.option(
    "--file", type=click.Path(path_type=Path), metavar="PATH", help="A file that you have, in place of the zoo's."
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the converted network: a .safetensors."
)
@click.option("--distances", is_flag=True, help="The minimum-norm distances of KEY, in place of its network.")
@click.option("--any-sparsity", is_flag=True, help="Take a network whose zeros do not fit the key.")
@zoo_option
@json_option
def load(
    key: str, file: Path | None, out: Path | None, distances: bool, any_sparsity: bool, zoo: str | None, as_json: bool
) -> None:
    """Load KEY, say what its checkpoint turned out to be, and write it as apx and plain PyTorch read it.

    The layout is recognised by the tensors' names and shapes, converted strictly, and compared with the key:
    architecture and sparsity. Nothing in the file is executed. `--out` writes safetensors, which apx evaluate, apx
    export and others take.

    \b
    Example:
      apx zoo load HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90 --out hydra.safetensors
      apx zoo load MAD_Lee2022Masking_V16_CIFAR10_US_95 --file ~/Downloads/mad.t7
      apx zoo load HARP_Zhao2023Holistic_V16_CIFAR10_US_99 --distances
    """
    if out is not None:
        _check_out(out)
    if distances:
        _load_distances(key, file, out, zoo, as_json)
        return
    from apx.zoo import open_model

    found = open_model(key, file=file, zoo=zoo, any_sparsity=any_sparsity)
    if out is not None:
        from apx.export import export_state

        export_state(out, found.module, metadata=found.metadata())
    document = {**found.as_dict(), "out": None if out is None else str(out)}
    if as_json:
        print_json(document)
        return
    statistics = document["normalisation"]
    normalisation = f"mean {statistics['mean']}, std {statistics['std']}" if statistics else "none"
    facts = {
        "key": document["key"],
        "method": document["method"],
        "network": document["arch"],
        "data": document["dataset"],
        "sparsity": f"{document['sparsity']:.2%} of all convolution and linear weights",
        "layout": document["layout"],
        "input": f"{normalisation} (from: {document['normalisation_source']})",
        "file": f"{document['file']} ({document['origin']})",
    }
    _print_facts(facts, document["notes"])
    _say_written(out)


def _load_distances(key: str, file: Path | None, out: Path | None, zoo: str | None, as_json: bool) -> None:
    from apx.zoo import load_distances
    from apx.zoo.distances import save_distances, summary

    values = load_distances(key, file=file, zoo=zoo)
    if out is not None:
        save_distances(out, values)
    found = {"key": key, **summary(values), "out": None if out is None else str(out)}
    if as_json:
        print_json({**found, "distances": [value if value < float("inf") else "inf" for value in values.tolist()]})
        return
    middle = "infinite" if found["median"] is None else f"{found['median']:.4f} ({found['median'] * 255:.2f}/255)"
    facts = {"key": key, "images": str(found["n"]), "median": middle, "zeros": str(found["zeros"])}
    _print_facts(facts, ["a distance of 0 may mean misclassified, or that the attack found nothing"])
    _say_written(out)


@command.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@click.option("--zoo", metavar="FOLDER", help="A folder zoo, in place of what was downloaded.")
@json_option
@click.pass_context
def verify(ctx: click.Context, keys: tuple[str, ...], zoo: str | None, as_json: bool) -> None:
    """Compare files of the zoo with the SHA-256 that was remembered of them; a difference gives exit status 1.

    \b
    Example:
      apx zoo verify
      apx zoo verify --zoo my-zoo --json
    """
    from apx.zoo import verify as verify_files

    verdicts = verify_files(keys, zoo)
    faulty = [one for one in verdicts if one.fault is not None]
    if as_json:
        print_json([{"key": one.key, "kind": one.kind, "path": str(one.path), "fault": one.fault} for one in verdicts])
    elif not verdicts:
        click.echo("there is nothing to verify", err=True)
    else:
        rows = [(one.key, one.kind, one.fault or "ok", str(one.path)) for one in verdicts]
        print_table("key", "file", "verdict", "path", rows=rows)
        click.echo(f"{len(verdicts) - len(faulty)} of {len(verdicts)} files are as they should be")
    if faulty:
        ctx.exit(1)


def _check_out(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out} should end in .safetensors; `apx export` writes other kinds")
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent} for {out.name}: make it, or choose another --out")


def _urls(files: Sequence[dict[str, Any]]) -> str:
    return " or ".join(file["url"] for file in files) or "-"


def _print_facts(facts: dict[str, str], remarks: Sequence[str]) -> None:
    for name, value in [*facts.items(), *(("note", remark) for remark in remarks)]:
        click.echo(f"{name:<10} {value}")


def _say_written(out: Path | None) -> None:
    if out is not None:
        click.echo(f"wrote {out}")
