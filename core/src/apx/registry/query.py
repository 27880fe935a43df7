"""Choose methods by the values of their taxonomy, in whatever spelling a user writes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from apx_taxonomy import UnknownWordError, axis, resolve, survey_label

from ..errors import UserError
from .method_entry import By, Entry, View

NOT_SPECIFIED = "n.s."
Words = Collection[str]


@dataclass(frozen=True)
class Query:
    """What a method must be; an empty field asks for nothing, several values of a field mean any of them.

    `by` says which block is asked: `survey` (the implementation, where the survey does not have the method) or
    `implements`. The values of one variant must satisfy all fields together. `implemented` asks for methods that
    run (True) or for those of which only the entry exists (False).

    Raises:
        UserError: a value that its axis does not have; the sentence names the allowed ones and the nearest.
    """

    stage: Words = ()
    schedule: Words = ()
    structure: Words = ()
    granularity: Words = ()
    locality: Words = ()
    criterion: Words = ()
    objective: Words = ()
    year: Words = ()
    origin: Words = ()
    by: By = "survey"
    implemented: bool | None = None

    def __post_init__(self) -> None:
        for name in ("stage", "structure", "granularity", "criterion", "origin"):
            self._set(name, [read_word(name, spelling) for spelling in getattr(self, name)])
        for name in ("schedule", "locality"):
            self._set(name, [_word_or_unspecified(name, spelling) for spelling in getattr(self, name)])
        self._set("objective", [_objective(spelling) for spelling in self.objective])
        _years(self.year)  # refuses what is not a year before anything is listed

    def _set(self, name: str, words: list[str]) -> None:
        object.__setattr__(self, name, tuple(words))  # frozen: a query is spelled out once, here

    def matches(self, entry: Entry) -> bool:
        """Say whether a method is what this query asks for."""
        if self.implemented is not None and entry.implemented != self.implemented:
            return False
        if self.origin and entry.origin not in self.origin:
            return False
        if self.year and not any(first <= entry.year <= last for first, last in _years(self.year)):
            return False
        return any(self._suits(view) for view in self._views(entry))

    def _views(self, entry: Entry) -> tuple[View, ...]:
        if self.by == "survey" and entry.survey is not None:
            return (entry.survey,)
        return entry.implemented_variants if self.implemented else entry.variants

    def _suits(self, view: View) -> bool:
        return (
            _meets(self.stage, (view.stage,))
            and _meets(self.schedule, view.schedules)
            and _meets(self.structure, view.structures)
            and _meets(self.granularity, view.granularities)
            and _meets(self.locality, view.localities)
            and _meets(self.criterion, (view.criterion,))
            and _meets(self.objective, _with_labels(view.objectives))
        )


def select(entries: Iterable[Entry], query: Query) -> list[Entry]:
    """Return the methods that a query asks for, in their order."""
    return [entry for entry in entries if query.matches(entry)]


def _meets(wanted: Words, values: Words | None) -> bool:
    if not wanted:
        return True
    return any(word in wanted for word in ((NOT_SPECIFIED,) if values is None else values))


def _with_labels(objectives: Words | None) -> Words | None:
    """Add the survey's label of each objective, so that AT finds a method that trains with pgd."""
    if objectives is None:
        return None
    labels = [label for name in objectives if (label := survey_label(name)) is not None]
    return (*objectives, *labels)


def read_word(axis_name: str, spelling: str) -> str:
    """Return the value of a taxonomy axis that a user means, in any case or by its long name.

    Raises:
        UserError: the axis has no such value; the sentence names the allowed ones and the nearest.
    """
    try:
        return resolve(axis_name, spelling)
    except UnknownWordError as error:
        raise UserError(str(error)) from None


def _word_or_unspecified(axis_name: str, spelling: str) -> str:
    return NOT_SPECIFIED if _means_unspecified(spelling) else read_word(axis_name, spelling)


def _means_unspecified(spelling: str) -> bool:
    return spelling.casefold() in (NOT_SPECIFIED, "ns", "not specified")


def _objective(spelling: str) -> str:
    """Read an objective (`trades`) or the survey's label of a family of them (`AT`)."""
    if _means_unspecified(spelling):
        return NOT_SPECIFIED
    try:
        return resolve("label", spelling)  # first: "natural training" is NT, which includes every nat
    except UnknownWordError as label_error:
        try:
            return resolve("objective", spelling)
        except UnknownWordError as error:
            allowed = ", ".join((*axis("label").values, *axis("objective").values))
            nearest = label_error.nearest or error.nearest
            hint = f"; did you mean '{nearest}'?" if nearest else ""
            raise UserError(f"'{spelling}' is not an objective: use one of {allowed}{hint}") from None


def _years(spellings: Words) -> list[tuple[int, int]]:
    """Read `2020`, `2019-2021`, `2021-` or `-2020` as a first and a last year."""
    return [_year(spelling) for spelling in spellings]


def _year(spelling: str) -> tuple[int, int]:
    first, dash, last = spelling.strip().partition("-")
    if (first or last) and all(part.isdecimal() for part in (first, last) if part):
        low = int(first) if first else 0
        return low, (int(last) if last else 9999) if dash else low
    raise UserError(f"'{spelling}' is not a year: use a year or a span, such as 2020, 2019-2021, 2021- or -2019")
