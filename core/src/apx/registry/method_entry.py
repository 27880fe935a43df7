"""A method as its entry describes it: the survey's row and what the code implements, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .hyperparameters import Hyperparameter, hyperparameters_from

By = Literal["survey", "implements"]
Words = tuple[str, ...]


@dataclass(frozen=True)
class View:
    """The taxonomy's values of a method; None where the survey does not specify one.

    `phases` pairs each training phase with its objectives: the survey's labels (AT, NT, KD, CNI), or the names of
    the objectives where the view is of the implementation.
    """

    stage: str
    schedules: Words | None
    structures: Words
    granularities: Words
    localities: Words | None
    criterion: str
    phases: tuple[tuple[str, Words | None], ...]

    @property
    def objectives(self) -> Words | None:
        """Every objective of the phases once, None where no phase specifies any."""
        specified = [words for _, words in self.phases if words is not None]
        return _distinct(word for words in specified for word in words) if specified else None


@dataclass(frozen=True)
class Entry:
    """One method of the registry: who made it, where it comes from, and its two views.

    The taxonomy's properties (`stage`, `schedules`, ...) are those of the survey, and of the implementation where
    the survey does not have the method. `hyperparameters` are the paper preset's values, none where nothing runs.
    """

    slug: str
    key: str | None
    name: str
    origin: str
    year: int
    distribution: str
    version: str
    survey: View | None
    implements: View
    variants: tuple[View, ...]
    implemented_variants: tuple[View, ...]
    hyperparameters: tuple[Hyperparameter, ...]
    plugin: str = field(repr=False)
    document: Mapping[str, Any] = field(repr=False, compare=False)

    def view(self, by: By = "survey") -> View:
        """Return the survey's view, or the implementation's where asked for or where the survey has none."""
        return self.survey if by == "survey" and self.survey is not None else self.implements

    @property
    def implemented(self) -> bool:
        """Whether at least one variant can run."""
        return bool(self.implemented_variants)

    @property
    def stage(self) -> str:
        """When pruning happens: before, during or after training."""
        return self.view().stage

    @property
    def schedules(self) -> Words | None:
        """One-shot (1S), iterative (IT) or both."""
        return self.view().schedules

    @property
    def structures(self) -> Words:
        """Unstructured (US), structured (S) or both."""
        return self.view().structures

    @property
    def granularities(self) -> Words:
        """What one mask bit removes."""
        return self.view().granularities

    @property
    def localities(self) -> Words | None:
        """Local (L), global (G) or both."""
        return self.view().localities

    @property
    def criterion(self) -> str:
        """What is removed first."""
        return self.view().criterion

    @property
    def objectives(self) -> Words | None:
        """What the training phases minimise."""
        return self.view().objectives

    def as_dict(self, by: By = "survey") -> dict[str, Any]:
        """Return the entry as one flat JSON object; tuples become lists, n.s. becomes null."""
        view = self.view(by)
        shown: By = "survey" if view is self.survey else "implements"
        return {
            "slug": self.slug,
            "key": self.key,
            "name": self.name,
            "origin": self.origin,
            "year": self.year,
            "by": shown,
            "stage": view.stage,
            "schedules": _listed(view.schedules),
            "structures": _listed(view.structures),
            "granularities": _listed(view.granularities),
            "localities": _listed(view.localities),
            "criterion": view.criterion,
            "objectives": _listed(view.objectives),
            "implemented": self.implemented,
            "distribution": self.distribution,
            "version": self.version,
        }


def entry_from(document: Mapping[str, Any], *, plugin: str, distribution: str, version: str) -> Entry:
    """Build the entry of a document that is valid under the entry schema."""
    implements = document["implements"]
    variants = [(variant["status"], _variant_view(implements, variant)) for variant in implements["variants"]]
    views = tuple(view for _, view in variants)
    return Entry(
        slug=document["slug"],
        key=document["key"],
        name=document["name"],
        origin=document["origin"],
        year=document["year"],
        distribution=distribution,
        version=version,
        survey=_survey_view(document["survey"]) if "survey" in document else None,
        implements=_merged(views),
        variants=views,
        implemented_variants=tuple(view for status, view in variants if status == "implemented"),
        hyperparameters=hyperparameters_from(implements.get("hyperparameters", ())),
        plugin=plugin,
        document=document,
    )


_SURVEY_PHASES = ("pretraining", "finetuning", "pruning_step", "training_step")


def _survey_view(row: Mapping[str, Any]) -> View:
    structures = tuple(row["structures"])
    granularities: Words = ("weights",) if "US" in structures else ()
    if row["granularity"] is not None:
        granularities = _distinct((*granularities, row["granularity"]))
    return View(
        stage=row["stage"],
        schedules=_words(row["schedules"]),
        structures=structures,
        granularities=granularities,
        localities=_words(row["localities"]),
        criterion=row["criterion"],
        phases=tuple((name, _words(row[name])) for name in _SURVEY_PHASES if name in row),
    )


def _variant_view(implements: Mapping[str, Any], variant: Mapping[str, Any]) -> View:
    return View(
        stage=implements["stage"],
        schedules=(variant["schedule"],),
        structures=(variant["structure"],),
        granularities=(variant["granularity"],),
        localities=(variant["locality"],),
        criterion=implements["criterion"],
        phases=tuple((phase["name"], tuple(phase["objectives"])) for phase in variant["phases"]),
    )


def _merged(views: tuple[View, ...]) -> View:
    """Put the variants of one method side by side; a phase of several variants has the objectives of them all."""
    phases: dict[str, Words] = {}
    for view in views:
        for name, objectives in view.phases:
            phases[name] = _distinct((*phases.get(name, ()), *(objectives or ())))
    return View(
        stage=views[0].stage,
        schedules=_distinct(word for view in views for word in view.schedules or ()),
        structures=_distinct(word for view in views for word in view.structures),
        granularities=_distinct(word for view in views for word in view.granularities),
        localities=_distinct(word for view in views for word in view.localities or ()),
        criterion=views[0].criterion,
        phases=tuple(phases.items()),
    )


def _words(values: list[str] | None) -> Words | None:
    return None if values is None else tuple(values)


def _listed(values: Words | None) -> list[str] | None:
    return None if values is None else list(values)


def _distinct(words: Iterable[str]) -> Words:
    return tuple(dict.fromkeys(words))
