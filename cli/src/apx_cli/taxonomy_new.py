"""The survey's questions about a method: what is not given by options is asked, word by word with its meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from .questions import ask, somebody_answers

if TYPE_CHECKING:
    from apx.scaffold import Description

_FACTS = {
    "name": "What is the method called?",
    "title": "The paper's title?",
    "authors": "Its authors, separated by commas?",
    "year": "The year?",
}
_OPTIONAL = {
    "venue": "Where was it published (Enter for nowhere yet)?",
    "url": "Address of the paper (Enter for none)?",
    "code": "Address of the authors' code (Enter for none)?",
    "licence": "The licence of the code, as SPDX writes it (Enter for unknown)?",
    "key": "The benchmark's key, NAME_Author2024Word (Enter for none)?",
}
_PLACE = {
    "stage": ("stage", "When does it prune?", False),
    "schedules": ("schedule", "In one step or several (both, separated by commas)?", True),
    "structures": ("structure", "Single weights or whole groups (both, separated by commas)?", True),
    "granularity": ("granularity", "What is a group?", False),
    "localities": ("locality", "Ranked inside each layer or across layers (both, separated by commas)?", True),
    "criterion": ("criterion", "What goes first?", False),
}
"""Field -> its axis, the question, whether several words may be given."""

_OPTION = {"authors": "author", "schedules": "schedule", "structures": "structure", "localities": "locality"}


class Answers:
    """What is known of a method so far: from options, then from the terminal."""

    def __init__(self, slug: str | None, given: Mapping[str, Any]) -> None:
        self._slug = slug
        self._found: dict[str, Any] = dict(given)
        for name, (axis, _, several) in _PLACE.items():
            if several and name in self._found:
                self._found[name] = _words(axis, ",".join(self._found[name]))
        self._found["objectives"] = _objectives(self._found.get("objectives", ()))

    def complete(self) -> Description:
        """Return the description; ask for what is missing.

        Raises:
            UserError: an option cannot be read, or something is missing and nobody answers.
        """
        from apx.scaffold import Description, slug_of

        asks = somebody_answers()
        if not asks and (missing := self._missing()):
            raise UserError(f"{', '.join(missing)} missing; see `apx taxonomy new --help`, or answer in a terminal")
        if asks:
            self._ask()
        return Description(self._slug or slug_of(self._found["name"]), **self._found)

    def _missing(self) -> list[str]:
        needed = [name for name in (*_FACTS, *_PLACE) if name != "granularity"]
        missing = [f"--{_OPTION.get(name, name)}" for name in needed if name not in self._found]
        return missing + ([] if self._found["objectives"] else ["--objective"])

    def _ask(self) -> None:
        readers: dict[str, Callable[[str], Any]] = {"authors": _names, "year": _year}
        for name, question in _FACTS.items():
            if name not in self._found:
                self._found[name] = ask(question, readers.get(name, _text))
        for name, question in _OPTIONAL.items():
            if name not in self._found and (name != "licence" or self._found.get("code")):
                self._found[name] = ask(question, _link if name in ("url", "code") else _nothing_or_text, default="")
        for name, (axis, question, several) in _PLACE.items():
            if name not in self._found and (name != "granularity" or "S" in self._found["structures"]):
                _explain(axis, without=("weights",) if name == "granularity" else ())
                self._found[name] = ask(question, partial(_words if several else _word, axis))
        self._ask_objectives()

    def _ask_objectives(self) -> None:
        from apx.scaffold import PHASES

        explained = False
        for phase, always in PHASES[self._found["stage"]].items():
            if phase in self._found["objectives"]:
                continue
            if not explained:
                _explain("objective")
                explained = True
            more = "" if always else " (Enter if it trains nothing)"
            question = f"What does {phase} minimise, the paper's first, separated by commas{more}?"
            chosen = ask(question, _some_objectives if always else _any_objectives, default=None if always else "")
            if chosen:
                self._found["objectives"][phase] = chosen


def _explain(axis: str, without: tuple[str, ...] = ()) -> None:
    from apx_taxonomy import AXES

    words = [word for word in AXES[axis].words if word.value not in without]
    width = max(len(word.value) for word in words)
    click.echo(f"\n{axis}: {AXES[axis].meaning}", err=True)
    for one in words:
        click.echo(f"  {one.value:<{width}}  {one.name}: {one.meaning}", err=True)


def _word(axis: str, text: str) -> str:
    from apx.registry import read_word

    return read_word(axis, text)


def _words(axis: str, text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"give at least one {axis}")
    return tuple(dict.fromkeys(_word(axis, part) for part in parts))


def _objectives(given: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        phase, equals, names = one.partition("=")
        if not equals or not phase:
            raise UserError(f"'{one}' names no phase: write PHASE=NAME, such as finetune=trades")
        found[phase] = (*found.get(phase, ()), *_some_objectives(names))
    return found


def _some_objectives(text: str) -> tuple[str, ...]:
    return _words("objective", text)


def _any_objectives(text: str) -> tuple[str, ...]:
    return _some_objectives(text) if text.strip() else ()


def _text(text: str) -> str:
    if not text.strip():
        raise UserError("an answer is needed")
    return text.strip()


def _nothing_or_text(text: str) -> str | None:
    return text.strip() or None


def _link(text: str) -> str | None:
    link = text.strip()
    if link and not link.startswith(("https://", "http://")):
        raise UserError(f"'{link}' is no address: it begins with https://")
    return link or None


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in _text(text).split(",") if part.strip())


def _year(text: str) -> int:
    if not text.strip().isdigit() or not 1950 <= int(text) <= 2100:
        raise UserError(f"'{text}' is no year from 1950 to 2100")
    return int(text)
