"""`apx export`: write a result as a file that PyTorch or ONNX runtimes load without apx, with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from apx.errors import UserError

from ..shared_options import made_options

_SUFFIX = {"safetensors": ".safetensors", "torch": ".pt", "onnx": ".onnx"}


@click.command(name="export")
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["safetensors", "torch", "onnx"], case_sensitive=False),
    default="safetensors",
    show_default=True,
    help="The kind of file.",
)
@click.option("--shrink", is_flag=True, help="Remove dead filters physically first.")
@click.option("--dense", is_flag=True, help="The dense network that a run has pruned, in place of its result.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The file to write.")
@click.option("--no-card", is_flag=True, help="Write no model card.")
@click.option("--force", is_flag=True, help="Replace the files if they exist.")
@made_options
def command(
    target: Path, to: Any, shrink: bool, dense: bool, out: Path | None, no_card: bool, force: bool, **made: Any
) -> None:
    """Write TARGET, a run directory, a file of weights or the key of a published network, for use without apx.

    `safetensors` holds the state dict. `torch` holds it for torch.load(..., weights_only=True); with --shrink it holds
    a program that torch.export.load runs, since a shrunk network fits no constructor. `onnx` is compared with PyTorch
    in onnxruntime before it is kept. Beside the file lies a model card, FILE.md.

    \b
    Example:
      apx export runs/hydra-resnet18-digits-20261120-101500 --to torch --out hydra.pt
      apx export runs/hydra-resnet18-digits-20261120-101500 --dense --out dense.safetensors
      apx export runs/hydra-vgg16-digits-20261120-101500 --to onnx --shrink --out hydra.onnx
    """
    suffix = ".pt2" if shrink and to == "torch" else _SUFFIX[to]  # a program: torch.export warns of other endings
    path = out if out is not None else Path(f"{target.resolve().stem}-exported{suffix}")
    beside = path.with_name(f"{path.name}.md")
    for file in [path] if no_card else [path, beside]:
        if file.exists() and not force:
            raise UserError(f"the file {file} exists: choose another --out, or replace it with --force")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for {path.name}: make it, or choose another --out")

    from apx.export import export_state
    from apx.target import Made, open_target

    opened = open_target(target, Made(**made))
    if dense:
        from apx.analysis.reference import dense_of_run

        opened = opened.with_weights(dense_of_run(target))
    report = export_state(
        path,
        opened.module,
        to,
        shrink=shrink,
        example_input=opened.example() if shrink or to == "onnx" else None,
        metadata=opened.metadata() if to != "torch" else None,
    )
    if report is not None:
        click.echo(
            f"removed {report.filters_removed} filters: weights {report.weights_before:,} to "
            f"{report.weights_after:,}, FLOPs {report.flops_before:,} to {report.flops_after:,}"
        )
    click.echo(f"wrote {path}")
    if not no_card:
        from apx.card import card
        from apx.paths import atomic_write

        atomic_write(beside, card(path, opened, to, report).encode())
        click.echo(f"wrote {beside}")
