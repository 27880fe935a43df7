"""A click group that imports a command when it is called, and turns a user's mistake into one line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from apx.errors import UserError


class Mistake(click.ClickException):
    """A user's mistake: `Error: <one sentence>` on stderr, exit status 2."""

    exit_code = 2

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(sentence.split()))


class LazyGroup(click.Group):
    """Commands by name, imported on demand: `<commands_at>.<name>` holds an attribute `command`.

    `summaries` gives their first lines, so that the group's own help imports none of them. A name that is not among
    them is looked for among the commands that plugins offer.
    """

    def __init__(self, *args: Any, commands_at: str, summaries: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = commands_at
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the built-in commands, in the order of their help."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, None where neither apx nor a plugin has it."""
        if cmd_name in self._summaries:
            command: click.Command = import_module(f"{self._package}.{cmd_name}").command
            return command
        from apx import registry

        return registry.commands().get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries instead of importing every command for its help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command's name, with the nearest one in the error."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib

            nearest = difflib.get_close_matches(name, self._summaries, n=1)
            hint = f", did you mean '{nearest[0]}'?" if nearest else ";"
            raise Mistake(f"there is no command '{name}'{hint} `apx --help` lists all commands")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a user's mistake becomes one line, Ctrl-C the shell's usual status."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise Mistake(str(error)) from error
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx is not None else "apx"
            raise Mistake(f"{error.format_message().rstrip('.')}; see `{where} --help`") from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None
