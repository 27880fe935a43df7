"""TensorBoard curves of a run, as an apx plugin: the run observer `tensorboard`, and a command of that name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from apx import hookimpl

if TYPE_CHECKING:
    import click

    from apx import Observer

apx_api = "1"


@hookimpl
def apx_observers() -> dict[str, Callable[[], Observer]]:
    """Offer the observer to apx; nothing of it is imported before a run asks for one."""

    def tensorboard() -> Observer:
        from .observer import TensorBoard

        return TensorBoard()

    return {"tensorboard": tensorboard}


@hookimpl
def apx_commands() -> dict[str, click.Command]:
    """Offer the command that writes the curves of runs that have ended."""
    from .command import command

    return {"tensorboard": command}
