"""What the author of a file of entries is told: every fault with its place, and advice on what a schema cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .reading import Finding, SyntaxFaultError, check_parsed, entries_in, parse
from .validation import Problem, schema
from .vocabulary import AXES, survey_label

_BOM = b"\xef\xbb\xbf"
_TRAINING = {"pretraining": "pretrain", "finetuning": "finetune", "training_step": "train"}
"""Field of the survey -> the phase that it is about; a pruning step is not listed: what it trains, if anything, has
another name in each method."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a file of entries (`faults`), and what is valid but looks like an oversight (`advice`)."""

    faults: tuple[Finding, ...]
    advice: tuple[Finding, ...] = ()

    def as_list(self) -> list[dict[str, Any]]:
        """Return JSON values: the faults, then the advice, told apart by `kind`."""
        return [
            {"kind": kind, **one.as_dict()}
            for kind, findings in (("fault", self.faults), ("advice", self.advice))
            for one in findings
        ]


def judge_file(file: Path) -> Verdict:
    """Judge a file of one taxonomy entry or of a list of them; a file that cannot be read has that one fault."""
    try:
        content = file.read_bytes()
    except OSError as error:
        return _one_fault(1, f"cannot be read: {error.strerror}")
    return judge(content)


def judge(content: bytes) -> Verdict:
    """Judge the content of a file of one taxonomy entry or of a list of them.

    Whatever the bytes are, they get a verdict and no exception. Advice is given on entries without faults.
    """
    if content.startswith(_BOM):
        return _one_fault(1, "begins with a byte order mark: save the file as UTF-8 without one")
    try:
        document, lines, twice = parse(content.decode())
        faults = check_parsed(document, lines, twice)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _one_fault(line, f"is no text in UTF-8 ({error.reason}): an entry is JSON in UTF-8")
    except SyntaxFaultError as error:
        return _one_fault(error.line, f"no JSON at column {error.column}: {str(error).partition(': ')[2]}")
    except RecursionError:
        return _one_fault(1, "is nested deeper than any entry")
    except ValueError as error:  # Python refuses to read integers of thousands of digits
        if "integer string conversion" not in str(error):
            raise
        return _one_fault(1, "holds a number of more digits than can be read")
    if faults:
        return Verdict(tuple(faults))
    found = [
        Finding(lines[pointer + problem.pointer], pointer + problem.pointer, problem.message)
        for pointer, entry in entries_in(document).items()
        for problem in advice(entry)
    ]
    return Verdict((), tuple(sorted(found, key=lambda one: one.line)))


def advice(entry: Mapping[str, Any]) -> list[Problem]:
    """Return what in a valid entry is probably an oversight.

    That is a difference between the survey's row and the implementation that `implements.differs` does not name, a
    field named there that the row has not, and an objective that is nearly a word of the vocabulary.
    """
    found = list(_objectives(entry["implements"]))
    if "survey" in entry:
        found += [*_untold(entry["survey"], entry["implements"]), *_unknown(entry["implements"])]
    return found


def _one_fault(line: int, text: str) -> Verdict:
    return Verdict((Finding(line, "", text),))


def _untold(row: Mapping[str, Any], implements: Mapping[str, Any]) -> Iterator[Problem]:
    told = {one["field"] for one in implements["differs"]}
    for field, published, made in (*_places(row, implements), *_labels(row, implements)):
        if field not in told and published != made:
            yield Problem(
                f"/survey/{field}",
                f"the survey says {_words(published)}, the implementation has {_words(made)}, and implements.differs "
                f"does not say why",
            )


def _places(row: Mapping[str, Any], implements: Mapping[str, Any]) -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield (field, published, implemented) of each property that the survey specifies."""
    variants = implements["variants"]
    for field in ("stage", "criterion"):
        yield field, {row[field]}, {implements[field]}
    for field, word in (("structures", "structure"), ("schedules", "schedule"), ("localities", "locality")):
        if row[field] is not None:
            yield field, set(row[field]), {one[word] for one in variants}
    grouped = {one["granularity"] for one in variants if one["structure"] == "S"}
    if row["granularity"] is not None and grouped:
        yield "granularity", {row["granularity"]}, grouped


def _labels(row: Mapping[str, Any], implements: Mapping[str, Any]) -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield (field, published, implemented) of each training phase whose first objective has another label.

    The first objective is the paper's; labels that the survey adds to it (channel noise) are not held against it.
    """
    for field, phase in _TRAINING.items():
        published = row.get(field)
        trained = [one for variant in implements["variants"] for one in variant["phases"] if one["name"] == phase]
        labels = {label for one in trained if (label := survey_label(one["objectives"][0])) is not None}
        if published is not None and not labels <= set(published):
            yield field, set(published), labels


def _unknown(implements: Mapping[str, Any]) -> Iterator[Problem]:
    fields = [name for name in schema("entry")["$defs"]["survey"]["properties"] if name != "disputed"]
    for place, one in enumerate(implements["differs"]):
        if one["field"] not in fields:
            yield Problem(
                f"/implements/differs/{place}/field",
                f'the survey has no field "{one["field"]}"{_near(one["field"], fields)}',
            )


def _objectives(implements: Mapping[str, Any]) -> Iterator[Problem]:
    known = AXES["objective"].values
    for nth, variant in enumerate(implements["variants"]):
        for phase, one in enumerate(variant["phases"]):
            for place, name in enumerate(one["objectives"]):
                if name not in known and (near := _near(name, known)):
                    yield Problem(
                        f"/implements/variants/{nth}/phases/{phase}/objectives/{place}",
                        f'"{name}" is no objective of the vocabulary{near} (a plugin may offer others)',
                    )


def _near(written: str, allowed: Iterable[str]) -> str:
    near = get_close_matches(written, list(allowed), n=1, cutoff=0.75)
    return f"; did you mean '{near[0]}'?" if near else ""


def _words(values: set[str]) -> str:
    return ", ".join(sorted(values)) or "no training"
