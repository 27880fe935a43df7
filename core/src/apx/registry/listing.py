"""The methods that have the properties one asks for."""

from __future__ import annotations

from collections.abc import Collection

from .catalogue import entries
from .method_entry import By, Entry
from .query import Query, select

Asked = str | Collection[str]


def list_methods(
    *,
    stage: Asked = (),
    schedule: Asked = (),
    structure: Asked = (),
    granularity: Asked = (),
    locality: Asked = (),
    criterion: Asked = (),
    objective: Asked = (),
    year: Asked = (),
    origin: Asked = (),
    by: By = "survey",
    implemented: bool | None = None,
) -> list[Entry]:
    """Return the entries of the methods that are all of this, by slug, as `apx list` does; no plugin code runs.

    Args:
        stage, schedule, structure, granularity, locality, criterion, objective, year, origin: a value or several, of
            which any will do, in any spelling: `criterion="LIS"`, `year="2020-"`.
        by: the block that is asked, `survey` or `implements`.
        implemented: True for methods that run, False for those of which only the entry exists.

    Raises:
        UserError: a value that its axis does not have; the sentence names the allowed ones and the nearest.
    """
    asked = {
        "stage": stage, "schedule": schedule, "structure": structure, "granularity": granularity, "locality": locality,
        "criterion": criterion, "objective": objective, "year": year, "origin": origin,
    }  # fmt: skip
    words = {name: (value,) if isinstance(value, str) else tuple(value) for name, value in asked.items()}
    return select(entries(), Query(**words, by=by, implemented=implemented))
