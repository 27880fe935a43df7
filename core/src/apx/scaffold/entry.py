"""A taxonomy entry from an author's answers: valid as it stands, with what is not known left open (null)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apx_taxonomy import validate

from ..errors import UserError
from .wish import BUDGETS, EXCLUDED, check_slug

PHASES: Mapping[str, Mapping[str, bool]] = {
    "after": {"pretrain": True, "prune": False, "finetune": True},
    "before": {"prune": False, "train": True},
    "during": {"train": True},
}
"""Phases that can train, by stage and in order -> whether one always does."""

_KEY = re.compile(r"[^_\s]+_[^_\s]+")
_UNITS = ("weights", "filters", "channels", "kernels")


@dataclass(frozen=True)
class Description:
    """What an author says of a method; texts and the taxonomy's words, as in an entry.

    `schedules`, `structures` and `localities` are all that the method can be; each combination is a variant.
    `granularity` is that of structured pruning, `objectives` are of the phases in `PHASES`, `budgets` by locality
    (uniform and global where there is none).
    """

    slug: str
    name: str
    title: str
    authors: tuple[str, ...]
    year: int
    stage: str
    schedules: tuple[str, ...]
    structures: tuple[str, ...]
    localities: tuple[str, ...]
    criterion: str
    objectives: Mapping[str, tuple[str, ...]]
    granularity: str = "filters"
    venue: str | None = None
    url: str | None = None
    code: str | None = None
    licence: str | None = None
    key: str | None = None
    bibtex: str | None = None
    status: str = "entry-only"
    basis: str = "paper"
    budgets: Mapping[str, str] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """Return the entry.

        Raises:
            UserError: the slug, the name or the key is taken, or an answer is not what an entry can hold.
        """
        check_slug(self.slug)
        check_name(self.name)
        check_key(self.key)
        made = {
            "api": "1",
            "slug": self.slug,
            "key": self.key,
            "name": self.name,
            "origin": "other",
            "title": self.title,
            "authors": list(self.authors),
            "venue": self.venue,
            "year": self.year,
            "url": self.url,
            "code": None if self.code is None else {"url": self.code, "licence": self.licence},
            "bibtex": self.bibtex,
            "implements": {
                "stage": self.stage,
                "criterion": self.criterion,
                "differs": [],
                "variants": self._variants(),
            },
        }
        if problems := validate(made, "entry"):
            raise UserError(f"this cannot be an entry: {'; '.join(map(str, problems))}")
        return made

    def _variants(self) -> list[dict[str, Any]]:
        return [
            self._variant(structure, schedule, locality)
            for structure, schedule, locality in itertools.product(self.structures, self.schedules, self.localities)
        ]

    def _variant(self, structure: str, schedule: str, locality: str) -> dict[str, Any]:
        granularity = "weights" if structure == "US" else self.granularity
        return {
            "structure": structure,
            "granularity": granularity,
            "schedule": schedule,
            "locality": locality,
            "budget": self.budgets.get(locality, BUDGETS[locality][0]),
            "sparsity_unit": granularity if granularity in _UNITS else "weights",
            "excluded_layers": list(EXCLUDED.get(granularity, ())),
            "phases": phases(self.stage, schedule, self.objectives),
            "status": self.status,
            "basis": self.basis,
        }


def phases(stage: str, schedule: str, objectives: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return an entry's phases that train; of an iterative schedule pruning and finetuning repeat.

    Raises:
        UserError: objectives of a phase that the stage has not, or none of one that always trains.
    """
    known = PHASES[stage]
    for name in objectives:
        if name not in known:
            raise UserError(f"pruning {stage} training has no phase '{name}': use {', '.join(known)}")
    if missing := [name for name, always in known.items() if always and not objectives.get(name)]:
        raise UserError(f"what does {' and '.join(missing)} minimise? give at least one objective, such as pgd")
    found: list[dict[str, Any]] = []
    for name in known:
        if objectives.get(name):
            repeats = {"repeats": True} if schedule == "IT" and name in ("prune", "finetune") else {}
            found.append({"name": name, "objectives": list(objectives[name]), **repeats})
    return found


def slug_of(name: str) -> str:
    """Return the slug that a printed name suggests."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower())) or "method"


def check_name(name: str) -> None:
    """Refuse the printed name of another method, in any case."""
    from ..registry import entries

    for found in entries():
        if found.name.casefold() == name.strip().casefold():
            raise UserError(
                f"there is a method called '{found.name}' already, from {found.distribution}; choose another"
            )


def check_key(key: str | None) -> None:
    """Refuse a benchmark key that is malformed, or another method's in any case: the registry would list neither."""
    from ..registry import entries

    if key is None:
        return
    if _KEY.fullmatch(key) is None:
        raise UserError(f"'{key}' is no key: write NAME_Author2024Word, two words joined by one underscore")
    for found in entries():
        if found.key is not None and found.key.casefold() == key.casefold():
            raise UserError(f"the key '{key}' is {found.name}'s already; leave it out, or choose another")
