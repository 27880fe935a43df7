"""Validation of documents against the JSON Schemas of this package (draft 2020-12)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import SCHEMAS, schema_file

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError


@dataclass(frozen=True)
class Problem:
    """One fault of a document: where (JSON pointer, "" is the whole), what, and what is allowed there."""

    pointer: str
    message: str
    allowed: tuple[Any, ...] = ()

    def __str__(self) -> str:
        where = self.pointer or "the document"
        choice = f" (allowed: {', '.join(map(_show, self.allowed))})" if self.allowed else ""
        return f"{where}: {self.message}{choice}"


def schema_names() -> list[str]:
    """Return the names of the schemas: entry, leaderboard, report, results, submission, zoo, zoo-record."""
    return sorted(path.stem for path in Path(SCHEMAS).glob("*.json"))


def schema(name: str) -> dict[str, Any]:
    """Return a schema as a document; KeyError where there is none of that name."""
    document: dict[str, Any] = json.loads(_schema_bytes(name))
    return document


def schema_digest(name: str) -> str:
    """Return the SHA-256 of a schema's file, so that a verdict can be remembered with what gave it."""
    return hashlib.sha256(_schema_bytes(name)).hexdigest()


def validate(document: object, schema_name: str) -> list[Problem]:
    """Return every problem of a document (as parsed from JSON), none where it is valid.

    Problems come in the order of their pointers. KeyError where there is no such schema.
    """
    problems: dict[Problem, None] = {}
    for error in _validator(schema_name).iter_errors(document):
        problems.update(dict.fromkeys(_problems(error)))
    return sorted(problems, key=lambda problem: (problem.pointer, problem.message))


@cache
def _schema_bytes(name: str) -> bytes:
    if name not in schema_names():
        raise KeyError(f"no schema named {name!r}; there are {', '.join(schema_names())}")
    return Path(schema_file(name)).read_bytes()


@cache
def _validator(name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # costs more than all the rest of this package

    document = schema(name)
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def _problems(error: ValidationError) -> Iterator[Problem]:
    """Say one schema violation in a plain sentence, at the place a user would look."""
    here = error.absolute_path
    instance, rule = error.instance, error.validator_value
    match error.validator:
        case "required":
            missing = [name for name in rule if name not in instance]
            for name in missing:
                yield Problem(_pointer(here), f"{name!r} is missing")
        case "additionalProperties" | "unevaluatedProperties":
            known = tuple(error.schema.get("properties", {}))
            for name in (name for name in instance if name not in known):
                yield Problem(_pointer([*here, name]), "unknown field", known)
        case "enum":
            yield Problem(_pointer(here), f"{_show(instance)} is not allowed", tuple(rule))
        case "const":
            yield Problem(_pointer(here), f"{_show(instance)} is not allowed", (rule,))
        case "anyOf" | "oneOf":
            yield from _alternatives(error)
        case "contains":
            wanted = rule["properties"]["name"]["const"]
            yield Problem(_pointer(here), f"no phase is named {wanted!r}")
        case "not":
            yield Problem(_pointer([*here, *rule.get("required", [])]), "is not allowed here")
        case "type":
            kinds = rule if isinstance(rule, list) else [rule]
            yield Problem(_pointer(here), f"{_show(instance)} is not of type {' or '.join(kinds)}")
        case _:
            yield Problem(_pointer(here), error.message)


def _alternatives(error: ValidationError) -> Iterator[Problem]:
    """Report what every alternative of an anyOf or oneOf allows at the same place, or the deepest fault."""
    faults = list(error.context or [])
    deeper = [fault for fault in faults if len(fault.absolute_path) > len(error.absolute_path)]
    for fault in deeper:
        yield from _problems(fault)
    missing = [fault for fault in faults if fault.validator == "required"]
    for fault in missing:
        yield from _problems(fault)
    if not deeper and not missing:
        allowed: list[Any] = []
        for fault in faults:
            value = fault.validator_value
            if fault.validator == "enum":
                allowed += value
            elif fault.validator in ("const", "type"):
                allowed += [None if value == "null" else value]
        yield Problem(_pointer(error.absolute_path), f"{_show(error.instance)} is not allowed", tuple(allowed))


def _pointer(path: Iterable[str | int]) -> str:
    """Write a path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
