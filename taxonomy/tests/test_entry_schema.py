from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx_taxonomy import Problem, schema, schema_digest, schema_names, validate

STAGES = ["after", "before", "during"]
PHASES = {
    "after": {"pretraining", "finetuning"},
    "before": {"pruning_step", "training_step"},
    "during": {"training_step"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def variant(**changes: Any) -> dict[str, Any]:
    return {
        "structure": "US", "granularity": "weights", "schedule": "1S", "locality": "L", "budget": "uniform",
        "sparsity_unit": "weights", "excluded_layers": [],
        "phases": [{"name": "pretrain", "objectives": ["pgd"]}, {"name": "train", "objectives": ["pgd"]}],
        "status": "implemented", "basis": "paper",
    } | changes  # fmt: skip


def entry(stage: str = "after", **changes: Any) -> dict[str, Any]:
    phases = {
        "after": {"pretraining": ["AT"], "finetuning": ["AT"]},
        "before": {"pruning_step": ["AT"], "training_step": []},
        "during": {"training_step": ["AT", "KD"]},
    }
    schedules = None if stage == "during" else ["1S"]
    return {
        "api": "1", "slug": "some-method", "key": "Some_Author2020Title", "name": "Some", "origin": "survey",
        "title": "A method", "authors": ["A. Author"], "venue": "Venue", "year": 2020,
        "url": "https://example.org", "code": {"url": "https://example.org/code", "licence": None},
        "bibtex": "@misc{some, title={A method}}",
        "survey": {
            "stage": stage, "schedules": schedules, "structures": ["US"], "localities": None,
            "criterion": "LIS", "granularity": None, "disputed": [],
            **phases[stage],
        },
        "implements": {"stage": stage, "criterion": "LIS", "differs": [], "variants": [variant()]},
    } | changes  # fmt: skip


def test_schemas():
    assert schema_names() == ["entry", "leaderboard", "report", "results", "submission", "zoo", "zoo-record"]
    assert len({schema_digest(name) for name in schema_names()}) == len(schema_names())
    with pytest.raises(KeyError, match="leaderboard"):
        schema("nothing")


@pytest.mark.parametrize("stage", STAGES)
def test_a_valid_entry_of_each_stage(stage):
    assert validate(entry(stage), "entry") == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("field", ["pretraining", "finetuning", "pruning_step", "training_step"])
def test_each_stage_has_its_own_phases(stage, field):
    document = entry(stage)
    if field in PHASES[stage]:
        del document["survey"][field]
        assert validate(document, "entry") == [Problem("/survey", f"'{field}' is missing")]
    else:
        document["survey"][field] = ["AT"]
        assert validate(document, "entry") == [Problem(f"/survey/{field}", "is not allowed here")]


def test_a_wrong_word_is_reported_with_pointer_and_allowed_values():
    document = entry()
    document["survey"]["criterion"] = "LISP"
    (problem,) = validate(document, "entry")
    assert problem.pointer == "/survey/criterion"
    assert problem.allowed == ("LWM", "SOLWM", "RELWM", "LIS", "HGM", "BCS", "RANDOM")
    assert str(problem).startswith('/survey/criterion: "LISP" is not allowed (allowed: "LWM", ')


def test_a_wrong_structured_granularity_lists_null_too():
    document = entry()
    document["survey"]["granularity"] = "tubes"
    (problem,) = validate(document, "entry")
    assert problem.pointer == "/survey/granularity"
    assert {"filters", "kernels", None} <= set(problem.allowed)


def test_an_unknown_field_is_reported_where_it_stands():
    document = entry()
    document["implements"]["variants"][0]["localitty"] = "L"
    (problem,) = validate(document, "entry")
    assert problem.pointer == "/implements/variants/0/localitty"
    assert "locality" in problem.allowed


def test_a_stage_that_does_not_exist_is_one_problem_about_the_stage():
    document = entry()
    document["survey"]["stage"] = "later"
    assert "/survey/stage" in {problem.pointer for problem in validate(document, "entry")}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"granularity": "filters"}, "granularity"),
        ({"sparsity_unit": "filters"}, "sparsity_unit"),
        ({"structure": "S", "granularity": "weights"}, "granularity"),
        ({"locality": "G", "budget": "uniform"}, "budget"),
        ({"locality": "L", "budget": "global"}, "budget"),
        ({"excluded_layers": ["stemm"]}, "excluded_layers/0"),
        ({"phases": [{"name": "finetune", "objectives": ["pgd"]}]}, "phases"),
        ({"phases": [{"name": "pretrain", "objectives": []}]}, "phases/0/objectives"),
    ],
)
def test_variants_that_contradict_themselves(changes, pointer):
    document = entry()
    document["implements"]["variants"] = [variant(**changes)]
    problems = validate(document, "entry")
    assert {problem.pointer for problem in problems} == {f"/implements/variants/0/{pointer}"}


def with_values(*groups: dict[str, Any]) -> dict[str, Any]:
    document = entry()
    document["implements"]["hyperparameters"] = list(groups)
    return document


def test_hyperparameters_come_in_groups_with_a_source():
    usual = {"prune.lr": 0.1, "prune.eps": "8/255", "prune.alpha": None, "prune.milestones": [0.5, 0.75], "init": "own"}
    groups = [
        {"source": "the paper, table 1", "settings": usual},
        {"source": "apx: a choice", "datasets": ["svhn"], "architectures": ["vgg16"], "settings": {"init": "dense"}},
    ]
    assert validate(with_values(*groups), "entry") == []


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"source": ""}, "/source"),
        ({"settings": {}}, "/settings"),
        ({"settings": {"Prune LR": 0.1}}, "/settings"),
        ({"settings": {"prune.lr.start": 0.1}}, "/settings"),
        ({"settings": {"prune.milestones": [[0.5]]}}, "/settings/prune.milestones/0"),
        ({"datasets": []}, "/datasets"),
        ({"dataset": ["svhn"]}, "/dataset"),
    ],
)
def test_a_wrong_group_of_hyperparameters_is_reported_where_it_stands(changes, pointer):
    document = with_values({"source": "the paper", "settings": {"prune.lr": 0.1}} | changes)
    problems = validate(document, "entry")
    assert {problem.pointer for problem in problems} == {f"/implements/hyperparameters/0{pointer}"}


def test_the_survey_block_belongs_to_survey_methods_only():
    assert [p.pointer for p in validate(entry(origin="other"), "entry")] == ["/survey"]
    document = entry(origin="baseline", key=None, venue=None, url=None, bibtex=None)
    del document["survey"]
    assert validate(document, "entry") == []
    document["origin"] = "survey"
    assert Problem("", "'survey' is missing") in validate(document, "entry")


@given(st.sampled_from(["entry", "results", "leaderboard", "report"]), JSON)
def test_any_json_is_judged_without_an_exception(name, document):
    assert validate(document, name), "no random document is a valid one"


@given(st.sampled_from(STAGES), st.data())
def test_removing_or_replacing_any_survey_field_is_noticed_at_its_place(stage, data):
    document = entry(stage)
    field = data.draw(st.sampled_from(sorted(document["survey"])))
    broken = deepcopy(document)
    if data.draw(st.booleans()):
        del broken["survey"][field]
        assert any(problem.pointer.startswith("/survey") for problem in validate(broken, "entry"))
    else:
        broken["survey"][field] = 12
        assert any(problem.pointer == f"/survey/{field}" for problem in validate(broken, "entry"))


@given(st.sampled_from(STAGES))
def test_a_document_survives_its_json(stage):
    document = entry(stage)
    assert validate(json.loads(json.dumps(document)), "entry") == []
