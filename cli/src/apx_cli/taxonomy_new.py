"""The survey's questions about a method: what is not given by options is asked, word by word with its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from . import readers
from .questions import ask, somebody_answers

if TYPE_CHECKING:
    from apx.scaffold import Description


@dataclass(frozen=True)
class _Question:
    """A question whose answer is a word of a taxonomy axis, or several."""

    axis: str
    text: str
    several: bool = False


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
    "stage": _Question("stage", "When does it prune?"),
    "schedules": _Question("schedule", "In one step or several (both, separated by commas)?", several=True),
    "structures": _Question("structure", "Single weights or whole groups (both, separated by commas)?", several=True),
    "granularity": _Question("granularity", "What is a group?"),
    "localities": _Question(
        "locality", "Ranked inside each layer or across layers (both, separated by commas)?", several=True
    ),
    "criterion": _Question("criterion", "What goes first?"),
}
"""Field -> the question that places the method in the taxonomy."""

_OPTION = {"authors": "author", "schedules": "schedule", "structures": "structure", "localities": "locality"}


class Answers:
    """What is known of a method so far: from options, then from the terminal."""

    def __init__(self, slug: str | None, given: Mapping[str, Any]) -> None:
        self._slug = slug
        self._found: dict[str, Any] = dict(given)
        for name, question in _PLACE.items():
            if question.several and name in self._found:
                self._found[name] = readers.words(question.axis, ",".join(self._found[name]))
        self._found["objectives"] = readers.objectives_by_phase(self._found.get("objectives", ()))
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
            verb = "is" if len(missing) == 1 else "are"
            raise UserError(
                f"{', '.join(missing)} {verb} missing; see `apx taxonomy new --help`, or answer in a terminal"
            )
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
                    self._found[name] = tuple(map(readers.some_text, given))
                elif isinstance(given, str):
                    self._found[name] = readers.FACTS[name](given)
            except UserError as error:
                raise UserError(f"--{_OPTION.get(name, name)}: {error}") from None

    def _check_groups(self) -> None:
        if "granularity" not in self._found:
            return
        self._found["granularity"] = readers.group(self._found["granularity"])
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
        for name, question in _PLACE.items():
            if name not in self._found and (name != "granularity" or "S" in self._found["structures"]):
                _explain(question.axis, without=("weights",) if name == "granularity" else ())
                reader = partial(readers.words if question.several else readers.word, question.axis)
                self._found[name] = ask(question.text, readers.group if name == "granularity" else reader)
        self._check_groups()
        self._check_phases()
        self._ask_objectives()

    def _ask_facts(self) -> None:
        from apx.scaffold import slug_of

        for name, question in _FACTS.items():
            if name not in self._found:
                self._found[name] = ask(question, readers.FACTS[name])
            if name == "name" and self._slug is None:
                self._slug = ask("What do commands and files call it?", readers.free_slug, slug_of(self._found["name"]))
        for name, question in _OPTIONAL.items():
            if name not in self._found and (name != "licence" or self._found.get("code")):
                self._found[name] = ask(question, readers.FACTS[name], default="")

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
            reader = readers.some_objectives if always else readers.any_objectives
            chosen = ask(question, reader, default=None if always else "")
            if chosen:
                self._found["objectives"][phase] = chosen


def _explain(axis: str, without: tuple[str, ...] = ()) -> None:
    from apx_taxonomy import AXES

    words = [word for word in AXES[axis].words if word.value not in without]
    width = max(len(word.value) for word in words)
    click.echo(f"\n{axis}: {AXES[axis].meaning}", err=True)
    for one in words:
        click.echo(f"  {one.value:<{width}}  {one.name}: {one.meaning}", err=True)
