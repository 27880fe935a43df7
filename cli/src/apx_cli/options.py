"""Kinds of values that options take, read in the spellings people use."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import click


class Radius(click.ParamType):
    """A perturbation radius: `8/255` or a decimal."""

    name = "radius"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read one value."""
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a radius: write 8/255 or a decimal such as 0.031", param, ctx)


class Factor(click.ParamType):
    """A finite number above 0."""

    name = "factor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read one value."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a number above 0: write 0.1 or 2", param, ctx)
        return number


class Assignment(click.ParamType):
    """A setting `key=value`; the value is read as JSON where it is JSON, else as text."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Read one assignment."""
        key, equals, text = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is no setting: write key=value, as in finetune.epochs=20", param, ctx)
        try:
            return key, json.loads(text)
        except json.JSONDecodeError:
            return key, text


def word(axis: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Return a callback that reads a value of a taxonomy axis in any spelling."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        from apx.registry import read_word

        return read_word(axis, value)

    return read
