"""What a robust accuracy was measured with, in a word or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SUITES = {
    ("apgd-ce", "apgd-t", "fab-t", "square"): "AutoAttack",
    ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"): "AutoAttack plus",
}
_OF_PROTOCOL = {
    "benchmark2024": "AutoAttack",
    "standard": "AutoAttack",
    "plus": "AutoAttack plus",
    "full": "AutoAttack plus + HO-FMN",
    "curve": "HO-FMN",
    "quick": "PGD-20",
    "sanity": "PGD-20",
}
_MOST_SEARCHING = ("AutoAttack plus + HO-FMN", "AutoAttack plus", "AutoAttack")


def attack_of_protocol(protocol: str) -> str:
    """Return the attacks of a protocol, where nothing else is known; an unknown protocol's own name."""
    return _OF_PROTOCOL.get(protocol, protocol)


def attack_of(document: Mapping[str, Any]) -> str:
    """Return the attacks of a results document: a suite by its name, others by theirs."""
    return _named(tuple(str(attack["name"]) for attack in document["attacks"]))


def _named(names: Sequence[str]) -> str:
    for suite, name in _SUITES.items():
        if tuple(names[: len(suite)]) == suite:
            return " + ".join([name, *map(str.upper, names[len(suite) :])])
    return " + ".join(map(str.upper, names))


def rank(attack: str) -> int:
    """Return how searching an attack is, 0 the most."""
    return _MOST_SEARCHING.index(attack) if attack in _MOST_SEARCHING else len(_MOST_SEARCHING)
