"""What is made of a text about a method, answered or given by an option; each reader refuses in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from apx.errors import UserError


def word(axis: str, text: str) -> str:
    """Read one value of a taxonomy axis, in any spelling."""
    from apx.registry import read_word

    return read_word(axis, text)


def words(axis: str, text: str) -> tuple[str, ...]:
    """Read values of a taxonomy axis, separated by commas; one that is said twice counts once."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"give at least one {axis}")
    return tuple(dict.fromkeys(word(axis, part) for part in parts))


def group(text: str) -> str:
    """Read what structured pruning removes."""
    unit = word("granularity", text)
    if unit == "weights":
        raise UserError("single weights are unstructured (US): say what a group is, such as filters")
    return unit


def objectives_by_phase(given: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Read what `--objective PHASE=NAME` says, given any number of times."""
    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        phase, equals, names = one.partition("=")
        if not equals or not phase:
            raise UserError(f"'{one}' names no phase: write PHASE=NAME, such as finetune=trades")
        found[phase] = tuple(dict.fromkeys((*found.get(phase, ()), *some_objectives(names))))
    return found


def some_objectives(text: str) -> tuple[str, ...]:
    """Read the objectives of a phase that trains."""
    return words("objective", text)


def any_objectives(text: str) -> tuple[str, ...]:
    """Read the objectives of a phase that may train nothing."""
    return some_objectives(text) if text.strip() else ()


def some_text(text: str) -> str:
    """Read what must not be blank."""
    if not text.strip():
        raise UserError("an answer is needed")
    return text.strip()


def _nothing_or_text(text: str) -> str | None:
    return text.strip() or None


def _link(text: str) -> str | None:
    link = text.strip()
    if link and not re.fullmatch(r"https?://\S+", link):
        raise UserError(f"'{link}' is no address: an address begins with https://")
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

    name = some_text(text)
    check_name(name)
    return name


def free_slug(text: str) -> str:
    """Read a slug that no method has."""
    from apx.scaffold import check_slug

    slug = text.strip()
    check_slug(slug)
    return slug


def _free_key(text: str) -> str | None:
    from apx.scaffold import check_key

    key = _nothing_or_text(text)
    check_key(key)
    return key


FACTS: Mapping[str, Callable[[str], Any]] = {
    "name": _free_name,
    "title": some_text,
    "authors": _names,
    "year": _year,
    "venue": _nothing_or_text,
    "url": _link,
    "code": _link,
    "licence": _nothing_or_text,
    "key": _free_key,
}
"""Field of the paper -> its reader."""
