"""The entries of the first-party plugins, against the survey's own counts."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from apx_taxonomy import leaderboard, leaderboard_names, resolve, validate

PLUGINS = Path(__file__).parents[2] / "plugins"
FILES = sorted(PLUGINS.glob("*/src/*/taxonomy.json"))
ENTRIES = {path.parents[2].name: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
SURVEY = {slug: entry["survey"] for slug, entry in ENTRIES.items() if entry["origin"] == "survey"}
LEAST_IMPORTANCE = {"hydra", "heracles", "harp", "mad", "bnap", "fre", "luo23", "sr-gkp", "fsrp", "rst", "intrain"}

if not FILES:
    pytest.skip("the plugins are not beside this package", allow_module_level=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parents[2].name)
def test_the_entry_is_valid_and_is_its_distribution_s(path):
    folder = path.parents[2]
    entry = ENTRIES[folder.name]
    assert [str(problem) for problem in validate(entry, "entry")] == []
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert entry["slug"] == folder.name
    assert project["name"] == f"apx-{entry['slug']}"
    assert project["entry-points"]["apx"] == {entry["slug"]: path.parent.name}


def test_slugs_and_keys_are_unique():
    slugs = Counter(entry["slug"] for entry in ENTRIES.values())
    keys = Counter(entry["key"] for entry in ENTRIES.values() if entry["key"])
    assert max(slugs.values()) == max(keys.values()) == 1


def test_the_survey_has_15_after_6_before_5_during():
    assert Counter(row["stage"] for row in SURVEY.values()) == {"after": 15, "before": 6, "during": 5}
    assert len(SURVEY) == 26


def test_least_importance_score_is_the_survey_s_eleven():
    assert resolve("criterion", "least importance score") == "LIS"
    assert {slug for slug, row in SURVEY.items() if row["criterion"] == "LIS"} == LEAST_IMPORTANCE


def test_the_seven_disputed_values_are_recorded():
    def disputed(slug):
        return {dispute["field"] for dispute in SURVEY[slug]["disputed"]}

    assert "localities" in disputed("sehwag19")
    assert "pretraining" in disputed("rsr")
    assert "schedules" in disputed("bnap")
    assert {"pretraining", "finetuning"} <= disputed("rfp")
    assert "schedules" in disputed("awt")
    assert "criterion" in disputed("dnr")
    undisputed = {slug for slug, row in SURVEY.items() if not row["disputed"]}
    assert undisputed == {"harp", "fsrp"}


def test_not_specified_is_null_and_no_training_is_empty():
    assert SURVEY["rsr"]["finetuning"] is None
    assert SURVEY["rst"]["training_step"] == []
    assert SURVEY["rsr"]["pretraining"] == ["AT", "CNI"]
    assert SURVEY["awt"]["schedules"] is SURVEY["awt"]["localities"] is None


def test_four_baselines_with_uniform_erk_and_global_rates():
    baselines = {slug: entry for slug, entry in ENTRIES.items() if entry["origin"] == "baseline"}
    assert set(baselines) == {"magnitude", "magnitude-before", "random", "random-before"}
    for entry in baselines.values():
        budgets = {v["budget"] for v in entry["implements"]["variants"] if v["structure"] == "US"}
        assert budgets == {"uniform", "fixed-nonuniform", "global"}


def test_variants_of_a_method_are_told_apart_by_the_words_a_user_can_give():
    for slug, entry in ENTRIES.items():
        words = ("structure", "granularity", "schedule", "locality", "budget")
        variants = Counter(tuple(v[word] for word in words) for v in entry["implements"]["variants"])
        assert max(variants.values()) == 1, slug


def test_every_method_of_the_leaderboards_has_an_entry_with_that_key():
    for name in leaderboard_names():
        for row in leaderboard(name)["rows"]:
            assert ENTRIES[row["method"]]["key"] == row["key"]


@pytest.mark.parametrize("slug", sorted(ENTRIES))
def test_bibtex_is_one_balanced_record_that_agrees_with_the_entry(slug):
    entry = ENTRIES[slug]
    record = entry["bibtex"]
    assert re.match(r"@(inproceedings|article|misc)\{[a-z]+\d{4}[a-z]+,\n", record)
    assert record.count("{") == record.count("}")
    assert record.isascii()
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", record, flags=re.MULTILINE))
    assert fields["year"] == str(entry["year"])
    assert fields["title"].strip("{}") == entry["title"]
    assert fields["author"].count(" and ") == len(entry["authors"]) - 1
