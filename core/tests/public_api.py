"""The public interface as data: every name that `import apx` exports and every hook, with its signature.

    uv run python core/tests/public_api.py            prints it
    uv run python core/tests/public_api.py --write    writes it to public_api.json, which is committed

Parameters are given by name, kind and default, without types: how Python spells those differs between its versions.
"""

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pluggy

import apx
from apx import hookspecs

FILE = Path(__file__).with_name("public_api.json")
Described = dict[str, Any]


def interface() -> Described:
    """Return the API version, the hooks, and name -> description of everything in `apx.__all__`."""
    names = {name: describe(getattr(apx, name)) for name in sorted(apx.__all__)}
    hooks = {name: signature(hook) for name, hook in vars(hookspecs).items() if name.startswith("apx_")}
    return {"api_version": apx.API_VERSION, "hooks": hooks, "names": names}


def describe(exported: Any) -> Described:
    """Return what kind of thing an export is, and what a caller or a subclass relies on."""
    if isinstance(exported, type):
        return {"kind": "class", "bases": bases(exported), **construction(exported), "members": members(exported)}
    if inspect.isroutine(exported):
        return {"kind": "function", "signature": signature(exported)}
    if isinstance(exported, pluggy.HookimplMarker):
        return {"kind": "marker"}
    return {"kind": "constant", "value": exported}


def bases(kind: type) -> list[str]:
    """Return the names of the bases, nearest first, without `object`."""
    return [base.__name__ for base in kind.__bases__ if base is not object]


def construction(kind: type) -> Described:
    """Return the settings of a pydantic model or else the parameters of the constructor."""
    fields = getattr(kind, "model_fields", None)
    if fields is None:
        inherited = issubclass(kind, Exception) and kind.__init__ is Exception.__init__  # which has no signature
        return {"signature": "(*args)" if inherited else signature(kind)}
    return {"fields": {name: default(field.get_default(call_default_factory=True)) for name, field in fields.items()}}


def members(kind: type) -> dict[str, str]:
    """Return public methods, properties and class attributes that apx itself defines on a class or its bases."""
    found: dict[str, str] = {}
    for base in reversed(own_classes(kind)):
        for name in (*inspect.get_annotations(base), *vars(base)):
            if name.startswith("_") or name in instance_fields(kind):
                continue
            found[name] = member(vars(base).get(name), abstract=name in getattr(kind, "__abstractmethods__", ()))
    return dict(sorted(found.items()))


def own_classes(kind: type) -> list[type]:
    """Return the class and its bases as far as they are apx's, nearest first."""
    return [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "apx"]


def instance_fields(kind: type) -> set[str]:
    """Return the fields of a dataclass or a pydantic model: they are in its construction already."""
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return fields | set(getattr(kind, "model_fields", ())) | {"model_config"}


def member(value: Any, *, abstract: bool) -> str:
    """Return one line on a member: `method (self, model)`, `property`, `attribute`."""
    word = "abstract " if abstract else ""
    if isinstance(value, property | cached_property):
        return f"{word}property"
    if isinstance(value, classmethod | staticmethod):
        return f"{word}{type(value).__name__} {signature(value.__func__)}"
    if inspect.isfunction(value):
        return f"{word}method {signature(value)}"
    return f"attribute = {value!r}" if isinstance(value, str | int | float | tuple) else "attribute"


def signature(function: Callable[..., Any]) -> str:
    """Return a signature without types."""
    found = inspect.signature(function)
    parameters = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else Shown(p.default))
        for p in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters, return_annotation=found.empty))


def default(value: Any) -> Any:
    """Return a default as a JSON value, or as it is shown."""
    plain = isinstance(value, str | int | float | bool | None)
    return value if plain else repr(Shown(value))


class Shown:
    """A default that reads the same in every process: an object shows its type, not its address."""

    def __init__(self, value: Any) -> None:
        text = repr(value)
        self._text = f"<{type(value).__name__}>" if " at 0x" in text else text

    def __repr__(self) -> str:
        return self._text


def text(described: Described) -> str:
    """Return the committed form."""
    return json.dumps(described, indent=2) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(text(interface()))
    else:
        sys.stdout.write(text(interface()))
