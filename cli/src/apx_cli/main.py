"""The `apx` program: one group of commands, each imported when it is called."""

from __future__ import annotations

import io
import sys

import click

from .lazy import LazyGroup

COMMANDS = {
    "list": "List the methods, by any property of their taxonomy.",
    "show": "Show one method: the survey's row, what the code implements, where they differ.",
    "compare": "Put methods side by side.",
    "cite": "Print the BibTeX of methods.",
    "run": "Prune a network with a method and evaluate the result.",
    "evaluate": "Attack a network and print what is left of its accuracy.",
    "leaderboard": "Print the published leaderboards with your own runs beside them.",
    "report": "Write one self-contained page about runs: accuracy, curves, sparsity, settings.",
    "curve": "Draw the security curves of networks in one figure.",
    "analyze": "Look into a pruned network: layers, weights, samples on thin ice.",
    "bench": "Time a network dense, masked and without its dead filters.",
    "quantize": "Quantise a network to 8 bits, zeros kept, and evaluate what is left.",
    "export": "Write a result for use without apx: safetensors, PyTorch, ONNX.",
    "runs": "List, show and remove run directories.",
    "zoo": "List, download, convert and verify published networks.",
    "submit": "Check, bundle and merge results for a leaderboard.",
    "taxonomy": "Write and validate a method's entry in the taxonomy.",
    "cache": "Show or clear what apx keeps between runs.",
    "plugin": "Start a plugin, check what a method claims, list what is installed.",
    "doctor": "Show versions, the machine and broken plugins.",
}
"""Name and first line of each command; `apx_cli.commands.<name>` holds it."""

HELP = """Adversarial pruning: list the published methods, run them, compare them fairly.

\b
Example:
  apx list --stage after --criterion LIS
  apx run twinrep --arch vgg16

Commands that a plugin adds are called by their names; `apx doctor` lists them."""


@click.group(cls=LazyGroup, commands_at="apx_cli.commands", summaries=COMMANDS, help=HELP)
@click.version_option(package_name="apx-cli", prog_name="apx")
def cli() -> None:
    """See HELP, which click prints."""


def main() -> None:
    """Run the program; what the terminal's encoding lacks is printed as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    cli(prog_name="apx")


if __name__ == "__main__":
    main()
