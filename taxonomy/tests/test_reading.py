"""Entries as files: every fault is found at its line and place, with what is allowed and what was probably meant."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx_taxonomy.reading import SyntaxFaultError, check_entries, parse

ENTRIES = sorted(Path(__file__).parents[2].glob("plugins/*/src/*/taxonomy.json"))
HYDRA = json.loads(next(file for file in ENTRIES if "apx_hydra" in file.parts).read_text())

leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5)
documents = st.recursive(
    leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3)
)


@pytest.mark.parametrize("file", ENTRIES, ids=lambda file: file.parent.name)
def test_every_first_party_entry_is_valid(file: Path) -> None:
    assert check_entries(file.read_text()) == []


@given(documents, st.sampled_from([None, 1, 4]))
def test_parsing_is_that_of_json_and_knows_every_line(document: Any, indent: int | None) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    found, lines, twice = parse(text)
    assert json.dumps(found) == json.dumps(document)
    assert twice == []
    assert lines[""] == 1
    assert set(lines) == set(pointers(document))
    if indent is not None:
        written = text.split("\n")
        for pointer, value in pointers(document).items():
            if not isinstance(value, dict | list):
                assert json.dumps(value, ensure_ascii=False) in written[lines[pointer] - 1]


def pointers(document: Any, at: str = "") -> dict[str, Any]:
    found = {at: document}
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        found |= pointers(value, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")
    return found


def at(document: Any, pointer: str) -> tuple[Any, Any]:
    """Return the container of a pointer, and its last step."""
    *steps, last = pointer.split("/")[1:]
    for step in steps:
        document = document[int(step) if isinstance(document, list) else step]
    return document, int(last) if isinstance(document, list) else last


ENUMS = ["/origin", "/survey/stage", "/survey/criterion", "/implements/criterion", "/implements/variants/0/locality",
         "/implements/variants/1/structure", "/implements/variants/0/status", "/survey/schedules/0"]  # fmt: skip


@given(st.sampled_from(ENUMS), st.sampled_from(["\N{SNOWMAN}", 7, None, ["x"]]))
def test_a_corrupted_word_is_found_where_it_stands(pointer: str, wrong: Any) -> None:
    document = copy.deepcopy(HYDRA)
    container, last = at(document, pointer)
    container[last] = wrong
    text = json.dumps(document, indent=2)
    findings = check_entries(text)
    assert pointer in {one.pointer for one in findings}
    _, lines, _ = parse(text)
    assert all(one.line == lines[one.pointer] for one in findings if one.pointer in lines)


def test_what_was_probably_meant_is_said() -> None:
    document = copy.deepcopy(HYDRA)
    document["implements"]["criterion"] = "least importance score"
    document["yeer"] = document.pop("year")
    said = {one.pointer: one.text for one in check_entries(json.dumps(document, indent=1))}
    assert said["/implements/criterion"].endswith("did you mean 'LIS'?")
    assert said["/yeer"].endswith("did you mean 'year'?")
    assert said[""] == "'year' is missing"


def test_lists_duplicates_and_syntax() -> None:
    broken = {**HYDRA, "slug": "No Slug"}
    assert [one.pointer for one in check_entries(json.dumps([HYDRA, broken]))] == ["/1/slug"]
    assert [one.text for one in check_entries("[]")] == ["the list holds no entry"]
    twice = json.dumps(HYDRA, indent=1).replace('"year": 2020', '"year": 2020,\n "year": 2021')
    [finding] = check_entries(twice)
    assert finding.text == "the key 'year' stands here again"
    assert twice.splitlines()[finding.line - 1].strip().startswith('"year": 2021')
    with pytest.raises(SyntaxFaultError, match="line 2, column 9"):
        check_entries('{\n "a": 1 "b": 2}')
