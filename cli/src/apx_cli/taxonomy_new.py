"""The survey's questions about a method: what is not given by options is asked, word by word with its meaning."""

from __future__ import annotations

import re
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
        self._read_facts()
        self._check_groups()
        self._check_phases()

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
        elif self._found.get("licence") and not self._found.get("code"):
            raise UserError("--licence is that of the authors' code: give its address by --code, or leave it out")
        return Description(self._slug or slug_of(self._found["name"]), **self._found)

    def _read_facts(self) -> None:
        """Hold what options say of the paper to what answers are held to."""
        for name in (*_FACTS, *_OPTIONAL):
            given = self._found.get(name)
            try:
                if name == "authors" and given is not None:
                    self._found[name] = tuple(map(_text, given))
                elif isinstance(given, str):
                    self._found[name] = _READERS[name](given)
            except UserError as error:
                raise UserError(f"--{_OPTION.get(name, name)}: {error}") from None

    def _check_groups(self) -> None:
        if "granularity" not in self._found:
            return
        self._found["granularity"] = _group(self._found["granularity"])
        if "S" not in self._found.get("structures", ("S",)):
            raise UserError("--granularity is that of structured pruning: add --structure S, or leave it out")

    def _check_phases(self) -> None:
        """Refuse objectives of a phase that the stage has not, as soon as both are known."""
        from apx.scaffold import PHASES

        if "stage" not in self._found:
            return
        known = PHASES[self._found["stage"]]
        for name in self._found["objectives"]:
            if name not in known:
                raise UserError(
                    f"pruning {self._found['stage']} training has no phase '{name}': use {', '.join(known)}"
                )

    def _missing(self) -> list[str]:
        needed = [name for name in (*_FACTS, *_PLACE) if name != "granularity"]
        missing = [f"--{_OPTION.get(name, name)}" for name in needed if name not in self._found]
        return missing + ([] if self._found["objectives"] else ["--objective"])

    def _ask(self) -> None:
        self._ask_facts()
        for name, (axis, question, several) in _PLACE.items():
            if name not in self._found and (name != "granularity" or "S" in self._found["structures"]):
                _explain(axis, without=("weights",) if name == "granularity" else ())
                reader = _group if name == "granularity" else partial(_words if several else _word, axis)
                self._found[name] = ask(question, reader)
        self._check_groups()
        self._check_phases()
        self._ask_objectives()

    def _ask_facts(self) -> None:
        from apx.scaffold import slug_of

        for name, question in _FACTS.items():
            if name not in self._found:
                self._found[name] = ask(question, _READERS[name])
            if name == "name" and self._slug is None:
                self._slug = ask("What do commands and files call it?", _free_slug, slug_of(self._found["name"]))
        for name, question in _OPTIONAL.items():
            if name not in self._found and (name != "licence" or self._found.get("code")):
                self._found[name] = ask(question, _READERS[name], default="")

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


def _group(text: str) -> str:
    """Read what structured pruning removes."""
    word = _word("granularity", text)
    if word == "weights":
        raise UserError("single weights are unstructured (US): say what a group is, such as filters")
    return word


def _objectives(given: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        phase, equals, names = one.partition("=")
        if not equals or not phase:
            raise UserError(f"'{one}' names no phase: write PHASE=NAME, such as finetune=trades")
        found[phase] = tuple(dict.fromkeys((*found.get(phase, ()), *_some_objectives(names))))
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
    if link and not re.fullmatch(r"https?://\S+", link):
        raise UserError(f"'{link}' is no address: it begins with https://")
    return link or None


def _names(text: str) -> tuple[str, ...]:
    if not (names := tuple(part.strip() for part in text.split(",") if part.strip())):
        raise UserError("an answer is needed")
    return names


def _year(text: str) -> int:
    year = text.strip()
    if not (year.isascii() and year.isdigit() and 1950 <= int(year[:9]) <= 2100):
        raise UserError(f"'{text}' is no year from 1950 to 2100")
    return int(year)


def _free_name(text: str) -> str:
    from apx.scaffold import check_name

    name = _text(text)
    check_name(name)
    return name


def _free_slug(text: str) -> str:
    from apx.scaffold import check_slug

    slug = text.strip()
    check_slug(slug)
    return slug


def _free_key(text: str) -> str | None:
    from apx.scaffold import check_key

    key = _nothing_or_text(text)
    check_key(key)
    return key


_READERS: Mapping[str, Callable[[str], Any]] = {
    "name": _free_name,
    "title": _text,
    "authors": _names,
    "year": _year,
    "venue": _nothing_or_text,
    "url": _link,
    "code": _link,
    "licence": _nothing_or_text,
    "key": _free_key,
}
"""Question about the paper -> what makes an answer of a text."""
