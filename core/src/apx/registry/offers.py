"""Check what a plugin answers to a hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..method import Method

_OBJECTS = ("apx_criteria",)  # all other hooks offer what can be called


class PluginError(Exception):
    """A plugin's own code failed; the sentence names the error, the failure names the distribution."""


def described(error: BaseException) -> str:
    """Return an error as one line: its type and what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def not_loaded(error: BaseException) -> str:
    """Return the sentence for a plugin whose import, or whose registration, raised `error`."""
    if isinstance(error, PluginError):
        return str(error)
    return f"it cannot be loaded: {described(error)}"


def named_things(hook: str, answer: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the part of an answer that is name -> thing, and a sentence on each thing that is left out.

    Raises:
        PluginError: the answer is not a mapping at all.
    """
    if answer is None:  # the hook is not implemented, or offers nothing
        return {}, []
    if not isinstance(answer, Mapping):
        raise PluginError(f"{hook} returned {type(answer).__name__}, not a dict")
    things: dict[str, Any] = {}
    wrong: list[str] = []
    for name, thing in answer.items():
        if not (isinstance(name, str) and name):
            wrong.append(f"{hook} returned a name that is not a text: {_short(name)}")
        elif hook not in _OBJECTS and not callable(thing):
            wrong.append(f"{hook} returned '{name}' as {type(thing).__name__}, which cannot be called")
        else:
            things[name] = thing
    return things, wrong


def taken(hook: str, name: str, owner: str) -> str:
    """Return the sentence for a name that `owner` has already."""
    return f"{hook}: the name '{name}' belongs to {owner} already"


def method_classes(answer: Any) -> list[type[Method]]:
    """Return the classes that `apx_methods` answered.

    Raises:
        PluginError: the answer is not a list, or something in it is not a class of Method.
    """
    from ..method import Method

    if answer is None:
        return []
    if not isinstance(answer, list | tuple):
        raise PluginError(f"apx_methods returned {type(answer).__name__}, not a list")
    for candidate in answer:
        if not (isinstance(candidate, type) and issubclass(candidate, Method)):
            raise PluginError(f"apx_methods returned {_short(candidate)}, which is not a class of Method")
    return list(answer)


def method_of(slug: str, stage: str, classes: list[type[Method]]) -> type[Method]:
    """Return the class that an entry, of which `slug` and `stage` are given, speaks of.

    Raises:
        PluginError: there is none, or its stage is another.
    """
    for candidate in classes:
        if getattr(candidate, "slug", None) == slug:
            actual = getattr(candidate, "stage", None)
            if actual != stage:
                raise PluginError(f"the stage of {candidate.__name__} is '{actual}', that of its entry is '{stage}'")
            return candidate
    raise PluginError(f"apx_methods returned no class with slug = '{slug}'")


def _short(thing: object) -> str:
    """Write a stranger's object without running its code."""
    if isinstance(thing, str | int | float | bytes | None):
        return repr(thing)[:60]
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"an object of type {type(thing).__name__}"
