"""`apx analyze`: look into a pruned network; each command's module is imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from ..lazy import LazyGroup, Mistake

COMMANDS = {
    "layers": "What adversarial examples do inside a network, layer by layer.",
    "weights": "Which weights were kept, beside those that magnitude would have kept.",
    "ice": "Samples on thin ice: what pruning changed, sample by sample.",
}
"""Name and first line of each command; `apx_cli.commands.analyze_<name>` holds it."""

HELP = """Look into a pruned network: its layers under attack, its weights, the samples that it lost.

\b
Example:
  apx analyze layers runs/hydra-resnet18-digits-20261120-101500 --n 200
  apx analyze weights runs/hydra-resnet18-digits-20261120-101500"""


class AnalyzeGroup(LazyGroup):
    """The commands above, whose modules carry the group's name; plugins add none."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__package__}.analyze_{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command's name; the error for a wrong one lists all."""
        if not args[0].startswith("-") and args[0] not in COMMANDS:
            raise Mistake(f"there is no command 'analyze {args[0]}'; choose one of {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


command = AnalyzeGroup(name="analyze", commands_at=__package__ or "", summaries=COMMANDS, help=HELP)
