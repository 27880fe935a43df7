"""What an author is told: a verdict on any bytes, and advice where a valid entry looks like an oversight."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx_taxonomy.authoring import advice, judge, judge_file

ENTRIES = sorted(Path(__file__).parents[2].glob("plugins/*/src/*/taxonomy.json"))

if not ENTRIES:
    pytest.skip("the plugins are not beside this package", allow_module_level=True)

TEXT = next(file for file in ENTRIES if "apx_hydra" in file.parts).read_text(encoding="utf-8")
HYDRA = json.loads(TEXT)


@pytest.mark.parametrize("file", ENTRIES, ids=lambda file: file.parent.name)
def test_first_party_entries_are_valid_and_say_where_they_differ_from_the_survey(file: Path) -> None:
    verdict = judge_file(file)
    assert verdict.faults == ()
    assert verdict.advice == ()


@pytest.mark.parametrize(
    ("pointer", "value", "field", "said"),
    [
        ("/implements/criterion", "LWM", "criterion", "the survey says LIS, the implementation has LWM"),
        ("/implements/variants/0/locality", "G", "localities", "the survey says L, the implementation has G, L"),
        ("/survey/structures", ["US", "S"], "structures", None),  # named in differs, and the same
        ("/survey/granularity", "kernels", "granularity", "the survey says kernels, the implementation has filters"),
        ("/survey/finetuning", ["KD"], "finetuning", "the survey says KD, the implementation has AT"),
        ("/survey/finetuning", [], "finetuning", "the survey says no training, the implementation has AT"),
        ("/survey/finetuning", None, "finetuning", None),
        ("/survey/finetuning", ["AT", "CNI"], "finetuning", None),
        ("/survey/localities", None, "localities", None),
    ],
)
def test_a_difference_that_no_reason_is_given_for(pointer: str, value: Any, field: str, said: str | None) -> None:
    document = changed(pointer, value)
    if pointer.endswith("locality"):
        document["implements"]["variants"][0]["budget"] = "global"
    text = json.dumps(document, indent=2)
    verdict = judge(text.encode())
    assert verdict.faults == ()
    told = {one.pointer: one for one in verdict.advice}
    if said is None:
        assert told == {}
        return
    found = told.pop(f"/survey/{field}")
    assert told == {}
    assert found.text == f"{said}, and implements.differs does not say why"
    assert f'"{field}"' in text.splitlines()[found.line - 1]
    document["implements"]["differs"].append({"field": field, "why": "The paper says so."})
    assert advice(document) == []


def test_a_reason_for_a_field_that_the_survey_has_not() -> None:
    [problem] = advice(changed("/implements/differs/0/field", "structure"))[1:]
    assert problem.pointer == "/implements/differs/0/field"
    assert problem.message == "the survey has no field \"structure\"; did you mean 'structures'?"


def test_an_objective_that_is_nearly_a_word() -> None:
    place = "/implements/variants/1/phases/2/objectives/0"
    [problem] = advice(changed(place, "tradse"))
    assert (problem.pointer, "did you mean 'trades'?" in problem.message) == (place, True)
    assert advice(changed(place, "my-own-loss")) == []


def test_a_list_has_advice_under_each_place_and_none_where_there_are_faults() -> None:
    odd = changed("/implements/criterion", "LWM")
    assert [one.pointer for one in judge(json.dumps([HYDRA, odd]).encode()).advice] == ["/1/survey/criterion"]
    assert judge(json.dumps([{**HYDRA, "year": "soon"}, odd]).encode()).advice == ()


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", 1, "no JSON at column 1: Expecting value"),
        (b'{\n "a": 1 "b": 2}', 2, "no JSON at column 9: Expecting ',' delimiter"),
        (b"\xef\xbb\xbf" + TEXT.encode(), 1, "byte order mark"),
        (TEXT.replace("HYDRA", "HYDR\xc4").encode("latin-1"), 4, "is no text in UTF-8 (invalid continuation byte)"),
        (b"[" * 100_000, 1, "nested deeper than any entry"),
        (b"[" * 3000 + b"]" * 3000, 1, "nested deeper than any entry"),
        (TEXT.replace("2020,", "9" * 5000 + ",", 1).encode(), 1, "more digits than can be read"),
        (b"null", 1, "null is not of type object"),
    ],
    ids=["empty", "syntax", "mark", "latin-1", "deep, cut", "deep", "digits", "null"],
)
def test_no_bytes_are_an_exception(content: bytes, line: int, said: str) -> None:
    [fault] = judge(content).faults
    assert (fault.line, fault.pointer) == (line, "")
    assert said in fault.text


@given(st.binary(max_size=40) | st.text(alphabet='[]{}",:0 ', max_size=40).map(str.encode))
def test_any_bytes_get_a_verdict_and_none_of_these_is_an_entry(content: bytes) -> None:
    verdict = judge(content)
    assert verdict.faults
    assert verdict.advice == ()
    assert all(1 <= one.line <= content.count(b"\n") + 1 for one in verdict.faults)


@given(st.data())
def test_a_field_that_is_cut_out_or_made_up_is_found(data: st.DataObject) -> None:
    document = copy.deepcopy(HYDRA)
    variant = data.draw(st.sampled_from(["", "/survey", "/implements", "/implements/variants/1"]))
    container = document
    for step in variant.split("/")[1:]:
        container = container[int(step) if isinstance(container, list) else step]
    gone = data.draw(st.sampled_from(sorted(set(container) - {"hyperparameters", "remark"})))
    del container[gone]
    container["made-up"] = 1
    faults = {(one.pointer, one.text.partition(";")[0]) for one in judge(json.dumps(document).encode()).faults}
    assert (variant, f"'{gone}' is missing") in faults
    assert (f"{variant}/made-up", "unknown field") in faults


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    [fault] = judge_file(tmp_path / "nowhere.json").faults
    assert fault.text == "cannot be read: No such file or directory"
    assert judge_file(tmp_path).faults[0].text == "cannot be read: Is a directory"
    [document] = judge_file(tmp_path).as_list()
    assert (document["kind"], document["line"]) == ("fault", 1)


def changed(pointer: str, value: Any) -> dict[str, Any]:
    """Return HYDRA's entry with another value at a JSON pointer."""
    document: dict[str, Any] = copy.deepcopy(HYDRA)
    container: Any = document
    *steps, last = pointer.split("/")[1:]
    for step in steps:
        container = container[int(step) if isinstance(container, list) else step]
    container[int(last) if isinstance(container, list) else last] = value
    return document
