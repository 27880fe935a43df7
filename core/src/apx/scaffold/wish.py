"""What an author asks for: a name and a place in the taxonomy, checked before anything is written."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UserError
from ..registry import entries
from .criteria import STARTS

CRITERIA = tuple(STARTS)
GRANULARITIES: Mapping[str, tuple[str, ...]] = {"US": ("weights",), "S": ("filters", "channels", "kernels")}
BUDGETS: Mapping[str, tuple[str, ...]] = {"L": ("uniform", "fixed-nonuniform"), "G": ("global",)}
EXCLUDED: Mapping[str, tuple[str, ...]] = {"filters": ("classifier",), "channels": ("stem",)}
"""Layers whose units are the network's classes, or the image's colours: no method may remove those."""

_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Wish:
    """One method to be: its slug, its variant in the taxonomy's words, its printed name and its author.

    `granularity` and `budget` may be empty: then they are the first of `GRANULARITIES` and `BUDGETS`; an empty `name`
    is made from the slug.

    Raises:
        UserError: a word that does not exist, words that do not go together, a slug that is malformed or
            taken, or a name or author with quotes or line breaks.
    """

    slug: str
    stage: str
    schedule: str
    structure: str
    locality: str
    criterion: str
    granularity: str = ""
    budget: str = ""
    name: str = ""
    author: str = "A. Author"

    def __post_init__(self) -> None:
        check_slug(self.slug)
        _among(self.stage, ("before", "during", "after"), "stage")
        _among(self.schedule, ("1S", "IT"), "schedule")
        _among(self.structure, tuple(GRANULARITIES), "structure")
        _among(self.locality, tuple(BUDGETS), "locality")
        _among(self.criterion, CRITERIA, "criterion")
        self._default("granularity", GRANULARITIES[self.structure], f"structure {self.structure}")
        self._default("budget", BUDGETS[self.locality], f"locality {self.locality}")
        object.__setattr__(self, "name", self.name or " ".join(word.capitalize() for word in self.slug.split("-")))
        _check_text(self.name, "name")
        _check_text(self.author, "author")

    @property
    def package(self) -> str:
        """The import name."""
        return f"apx_{self.slug.replace('-', '_')}"

    @property
    def class_name(self) -> str:
        """The name of the method's class."""
        name = "".join(word.capitalize() for word in self.slug.split("-"))
        return f"{name}Method" if keyword.iskeyword(name) else name

    @property
    def excluded_layers(self) -> tuple[str, ...]:
        """The layers that the variant leaves out."""
        return EXCLUDED.get(self.granularity, ())

    def _default(self, field: str, allowed: tuple[str, ...], where: str) -> None:
        value = getattr(self, field) or allowed[0]
        _among(value, allowed, f"{field} of {where}")
        object.__setattr__(self, field, value)


def check_slug(slug: str) -> None:
    """Refuse a slug that is malformed or taken."""
    if _SLUG.fullmatch(slug) is None:
        raise UserError(f"'{slug}' is no slug: use lower-case letters, digits and single hyphens, such as my-method")
    for entry in entries():
        if entry.slug == slug:
            owner = f"{entry.distribution} {entry.version}"
            raise UserError(f"there is a method '{slug}' already, from {owner}; choose another slug")


def _check_text(text: str, what: str) -> None:
    """Refuse what would end a string in Python, TOML or YAML."""
    if not text.strip() or not text.isprintable() or any(mark in text for mark in '"\\'):
        raise UserError(f"the {what} {text!r} cannot be used: write one line without double quotes and backslashes")


def _among(value: str, allowed: tuple[str, ...], what: str) -> None:
    if value not in allowed:
        nearest = difflib.get_close_matches(value, allowed, n=1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        raise UserError(f"'{value}' is not a {what}: use one of {', '.join(allowed)}{hint}")
