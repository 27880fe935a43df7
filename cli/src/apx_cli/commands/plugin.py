"""`apx plugin`: start a plugin, check that a method does what it claims, list what is installed."""

from __future__ import annotations

import click

from ..plugin_check import check_command
from ..plugin_list import list_command
from ..plugin_new import new_command


@click.group(name="plugin")
def command() -> None:
    """Start a plugin, check a method against its entry, list what is installed.

    \b
    Example:
      apx plugin new my-method --stage after --schedule 1S --structure US --locality G --criterion LIS
      apx plugin check my-method
      apx plugin list
    """


for _command in (new_command, check_command, list_command):
    command.add_command(_command)
