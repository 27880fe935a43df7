"""Questions in the terminal: asked again, with the reason, until the answer can be read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from apx.errors import UserError

Answer = TypeVar("Answer")


def somebody_answers() -> bool:
    """Say whether a person sits at the terminal."""
    return sys.stdin.isatty()


def asking(read: Callable[[str], Answer]) -> Callable[[str], Answer]:
    """Return a reader for `click.prompt` that asks again where `read` refuses an answer."""

    def reader(text: str) -> Answer:
        try:
            return read(text)
        except UserError as error:
            raise click.UsageError(str(error)) from None  # click then asks again

    return reader


def ask(question: str, read: Callable[[str], Answer], default: str | None = None) -> Answer:
    """Ask on stderr and return what `read` makes of the answer; Enter takes the default."""
    answer: Answer = click.prompt(
        question, value_proc=asking(read), default=default, show_default=bool(default), err=True
    )
    return answer
