"""JSON documents as people write them: where each value stands, which keys stand twice, what is wrong with an entry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from json import scanner
from json.decoder import JSONArray, JSONObject  # type: ignore[attr-defined]
from typing import Any

from .validation import Problem, validate
from .vocabulary import AXES, UnknownWordError, resolve


@dataclass(frozen=True)
class Finding:
    """One fault of a file, or one piece of advice on it: line from 1, JSON pointer ("" is the whole), sentence."""

    line: int
    pointer: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"line": self.line, "pointer": self.pointer, "text": self.text}


class SyntaxFaultError(ValueError):
    """Text that is no JSON; carries line and column, from 1."""

    def __init__(self, error: json.JSONDecodeError) -> None:
        self.line, self.column = error.lineno, error.colno
        super().__init__(f"line {error.lineno}, column {error.colno}: {error.msg}")


def parse(text: str) -> tuple[Any, dict[str, int], list[Finding]]:
    """Return the document in a text, the line of each value by its JSON pointer, and keys that stand twice.

    Raises:
        SyntaxFaultError: the text is no JSON.
    """
    try:
        located = _Decoder().decode(text)
    except json.JSONDecodeError as error:
        raise SyntaxFaultError(error) from None
    starts = [0, *(place + 1 for place, letter in enumerate(text) if letter == "\n")]
    lines: dict[str, int] = {}
    twice: list[Finding] = []

    def plain(one: _Located, pointer: str) -> Any:
        lines[pointer] = _line(starts, one.start)
        if isinstance(one.value, _Pairs):
            found: dict[str, Any] = {}
            for key, value in one.value.pairs:
                below = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
                if key in found:
                    twice.append(Finding(_line(starts, value.start), below, f"the key {key!r} stands here again"))
                found[key] = plain(value, below)
            return found
        if isinstance(one.value, list):
            return [plain(value, f"{pointer}/{place}") for place, value in enumerate(one.value)]
        return one.value

    return plain(located, ""), lines, twice


def check_entries(text: str) -> list[Finding]:
    """Return what is wrong with a file of one taxonomy entry or of a list of them, in the order of its lines.

    Raises:
        SyntaxFaultError: the text is no JSON.
    """
    return check_parsed(*parse(text))


def check_parsed(document: Any, lines: Mapping[str, int], twice: Iterable[Finding]) -> list[Finding]:
    """Return what `check_entries` returns, given what `parse` has made of the text."""
    findings = list(twice)
    for prefix, entry in entries_in(document).items():
        for problem in validate(entry, "entry"):
            pointer = prefix + problem.pointer
            sentence = f"{problem.message}{_choice(problem)}{_nearest(entry, problem)}"
            findings.append(Finding(_known_line(lines, pointer), pointer, sentence))
    if isinstance(document, list) and not document:
        findings.append(Finding(1, "", "the list holds no entry"))
    return sorted(findings, key=lambda one: (one.line, one.pointer))


def entries_in(document: Any) -> dict[str, Any]:
    """Return the entries of a file by their JSON pointers: those of a list, or the document itself."""
    return {f"/{place}": one for place, one in enumerate(document)} if isinstance(document, list) else {"": document}


def _choice(problem: Problem) -> str:
    return (
        f"; allowed: {', '.join(json.dumps(one, ensure_ascii=False) for one in problem.allowed)}"
        if problem.allowed
        else ""
    )


def _nearest(entry: Any, problem: Problem) -> str:
    """Return what was probably meant: a field of nearly that name, or the word that a long name stands for."""
    allowed = [one for one in problem.allowed if isinstance(one, str)]
    written = problem.pointer.rsplit("/", 1)[-1] if problem.message == "unknown field" else _at(entry, problem.pointer)
    if not isinstance(written, str) or not allowed:
        return ""
    near = get_close_matches(written, allowed, n=1)
    for axis in AXES:
        try:
            meant = resolve(axis, written)
        except UnknownWordError:
            continue
        near += [meant] if meant in allowed else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _at(document: Any, pointer: str) -> Any:
    found = document
    for part in pointer.split("/")[1:]:
        try:
            found = found[int(part)] if isinstance(found, list) else found[part.replace("~1", "/").replace("~0", "~")]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return found


def _known_line(lines: Mapping[str, int], pointer: str) -> int:
    """Return the line of the value, or of what it should be in."""
    while pointer not in lines:
        pointer = pointer.rpartition("/")[0]
    return lines[pointer]


def _line(starts: list[int], place: int) -> int:
    from bisect import bisect_right

    return bisect_right(starts, place)


@dataclass(frozen=True)
class _Located:
    value: Any
    start: int


@dataclass(frozen=True)
class _Pairs:
    pairs: list[tuple[str, _Located]]


class _Decoder(json.JSONDecoder):
    """Python's own decoder, every value of which remembers where it began."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=_Pairs)
        self.parse_object = self._object
        self.parse_array = self._array
        scan = scanner.py_make_scanner(self)  # type: ignore[attr-defined]
        self.scan_once = lambda text, place: _with_place(scan, text, place)

    def _object(self, text_and_end: Any, strict: bool, scan: Any, *others: Any) -> Any:
        return JSONObject(text_and_end, strict, lambda text, place: _with_place(scan, text, place), *others)

    def _array(self, text_and_end: Any, scan: Any) -> Any:
        return JSONArray(text_and_end, lambda text, place: _with_place(scan, text, place))


def _with_place(scan: Any, text: str, place: int) -> tuple[_Located, int]:
    value, end = scan(text, place)
    return _Located(value, place), end
