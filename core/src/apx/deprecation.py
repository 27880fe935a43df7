"""How apx takes a public name back: it warns for one minor version, naming the replacement, and then it goes.

What is deprecated is a value in `known()`, so that a test can tell when one has outlived its removal.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_KNOWN: dict[str, Deprecation] = {}


@dataclass(frozen=True)
class Deprecation:
    """One thing that goes: since which version of apx-core it warns, in which it is gone, what replaces it.

    Raises:
        ValueError: the removal is not at least one minor version later.
    """

    name: str
    since: str
    removed_in: str
    instead: str

    def __post_init__(self) -> None:
        if minor(self.removed_in) <= minor(self.since):
            raise ValueError(
                f"{self.name} would warn from {self.since} and go in {self.removed_in}: that is no minor version"
            )

    def __str__(self) -> str:
        return (
            f"{self.name} is deprecated since apx-core {self.since} and goes in {self.removed_in}: use {self.instead}"
        )

    def warn(self, *, stacklevel: int = 2) -> None:
        """Emit the DeprecationWarning for whoever called the function that calls this."""
        warnings.warn(str(self), DeprecationWarning, stacklevel=stacklevel + 1)

    def outlived(self, version: str) -> bool:
        """Say whether `version` of apx-core ("0.3.1") should no longer have it."""
        return minor(version) >= minor(self.removed_in)


def minor(version: str) -> tuple[int, int]:
    """Return major and minor number of a version: "0.3.1" gives (0, 3)."""
    first, second, *_ = version.split(".")
    return int(first), int(second)


def known() -> list[Deprecation]:
    """Return what the imported modules have deprecated, by name; exports of `apx` are in its own table."""
    return [_KNOWN[name] for name in sorted(_KNOWN)]


def deprecated(*, since: str, removed_in: str, instead: str) -> Callable[[Decorated], Decorated]:
    """Mark a function or class: it works as before, and a call (of a class: a construction) warns.

    Args:
        since: version of apx-core in which it begins to warn.
        removed_in: version that no longer has it, at least one minor version later.
        instead: what to use, as the sentence ends: "apx.prune(..., budget=...)".
    """

    def mark(decorated: Decorated) -> Decorated:
        deprecation = _note(f"{decorated.__module__}.{decorated.__qualname__}", since, removed_in, instead)
        if isinstance(decorated, type):
            made: Any = decorated
            made.__init__ = _warning_first(made.__init__, deprecation.warn)
            return decorated
        return _warning_first(decorated, deprecation.warn)

    return mark


def deprecated_parameter(name: str, *, since: str, removed_in: str, instead: str) -> Callable[[Decorated], Decorated]:
    """Mark a keyword parameter of a function: a call that gives it warns, and the function still gets it."""

    def mark(function: Decorated) -> Decorated:
        owner = f"{function.__module__}.{function.__qualname__}"
        deprecation = _note(f"the parameter {name} of {owner}", since, removed_in, instead)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in kwargs:
                deprecation.warn()
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return mark


def _note(name: str, since: str, removed_in: str, instead: str) -> Deprecation:
    return _KNOWN.setdefault(name, Deprecation(name, since, removed_in, instead))


def _warning_first(function: Decorated, warn: Callable[[], None]) -> Decorated:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        warn()
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]
