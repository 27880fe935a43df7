"""`apx taxonomy`: an entry from options or from answers, faults pointed at, nothing left behind by a mistake."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from apx.scaffold import PHASES, Description
from apx_taxonomy import AXES
from apx_taxonomy.authoring import Verdict, judge

Apx = Callable[..., Result]
FACTS = ("--name", "MyMethod", "--title", "Pruning, Robustly", "--author", "A. Author", "--author", "B. Author",
         "--year", "2026")  # fmt: skip
PLACE = ("--stage", "after", "--schedule", "one-shot", "--structure", "us", "--locality", "global", "--criterion",
         "least importance score", "--objective", "pretrain=trades,pgd", "--objective", "finetune=trades")  # fmt: skip


def test_options_make_an_entry_that_validates(apx: Apx) -> None:
    made = apx("taxonomy", "new", "my-method", *FACTS, *PLACE, "--schedule", "IT")
    assert made.exit_code == 0, made.stderr
    assert made.stdout == "wrote my-method.json: MyMethod, 2 variants\n"
    entry = json.loads(Path("my-method.json").read_text())
    assert (entry["authors"], entry["implements"]["criterion"]) == (["A. Author", "B. Author"], "LIS")
    one_shot, iterative = entry["implements"]["variants"]
    assert one_shot["phases"][0] == {"name": "pretrain", "objectives": ["trades", "pgd"]}
    assert iterative["phases"][-1] == {"name": "finetune", "objectives": ["trades"], "repeats": True}
    assert apx("taxonomy", "validate", "my-method.json").stdout == "my-method.json: valid\n"


def test_what_is_missing_is_asked_until_it_can_be_read(apx: Apx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx_cli.taxonomy_new.somebody_answers", lambda: True)
    answers = [
        "hydra", "My Method", "hydra", "", " ", "A Title", " , ", "A. Author, B. Author", "\N{SUPERSCRIPT TWO}", "2026",
        "ICML", "no link", "https://example.org", "", "no key", "HYDRA_Sehwag2020Hydra", "", "sometimes", "before",
        "one-shot, IT", "S", "weights", "kernels", "L", "HGM", "", "made-up", "pgd, kd",
    ]  # fmt: skip
    made = apx("taxonomy", "new", "--json", answer="\n".join(answers) + "\n")
    assert made.exit_code == 0, made.stderr
    entry = json.loads(made.stdout)
    assert (entry["slug"], entry["venue"], entry["url"]) == ("my-method", "ICML", "https://example.org")
    assert [v["schedule"] for v in entry["implements"]["variants"]] == ["1S", "IT"]
    assert {v["granularity"] for v in entry["implements"]["variants"]} == {"kernels"}
    assert entry["implements"]["variants"][0]["phases"] == [{"name": "train", "objectives": ["pgd", "kd"]}]
    for said in (
        "there is a method called 'HYDRA' already",
        "there is a method 'hydra' already",
        "an answer is needed",
        "is no year",
        "is no address",
        "'no key' is no key",
        "is HYDRA's already",
        "single weights are unstructured",
        "'sometimes' is not a stage",
        "'made-up' is not an objective",
        "prune, then train",
    ):
        assert said in made.stderr


def test_an_objective_that_is_said_twice_counts_once(apx: Apx) -> None:
    assert apx("taxonomy", "new", "mine", *FACTS, *PLACE, "--objective", "finetune=kd,trades").exit_code == 0
    [variant] = json.loads(Path("mine.json").read_text())["implements"]["variants"]
    assert variant["phases"][1]["objectives"] == ["trades", "kd"]


def test_an_interrupted_interview_leaves_nothing(apx: Apx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx_cli.taxonomy_new.somebody_answers", lambda: True)
    assert apx("taxonomy", "new", "mine", answer="My Method\n").exit_code == 1
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(("arguments", "said"), [
    (("mine",), "--name, --title, --author, --year, --stage, --schedule, --structure, --locality, --criterion, "
                "--objective are missing"),
    (("mine", *FACTS, *PLACE[:-4]), "Error: --objective is missing"),
    (("hydra", *FACTS, *PLACE), "there is a method 'hydra' already"),
    (("mine", *FACTS, *PLACE, "--key", "HYDRA_Sehwag2020Hydra"), "is HYDRA's already"),
    (("mine", *FACTS, *PLACE, "--key", "hydra_sehwag2020hydra"), "is HYDRA's already"),
    (("mine", *FACTS, *PLACE, "--locality", "middle"), "'middle' is not a locality: use one of L, G"),
    (("mine", *FACTS, *PLACE, "--objective", "train=pgd"), "no phase 'train': use pretrain, prune, finetune"),
    (("mine", *FACTS, *PLACE[:-2]), "what does finetune minimise?"),
    (("mine", *FACTS, *PLACE, "--url", "example"), "--url: 'example' is no address"),
    (("mine", *FACTS, *PLACE, "--name", "Hydra"), "--name: there is a method called 'HYDRA' already"),
    (("mine", *FACTS, *PLACE, "--title", " "), "--title: an answer is needed"),
    (("mine", *FACTS, *PLACE, "--author", ""), "--author: an answer is needed"),
    (("mine", *FACTS, *PLACE, "--key", "no key"), "--key: 'no key' is no key"),
    (("mine", *FACTS, *PLACE, "--licence", "MIT"), "give its address by --code"),
    (("mine", *FACTS, *PLACE, "--granularity", "filters"), "add --structure S"),
    (("mine", *FACTS, *PLACE, "--structure", "S", "--granularity", "weights"), "single weights are unstructured"),
    (("mine", *FACTS, *PLACE, "--out", "no/entry.json"), "there is no folder no"),
])  # fmt: skip
def test_mistakes_are_one_sentence_and_leave_nothing(apx: Apx, arguments: tuple[str, ...], said: str) -> None:
    made = apx("taxonomy", "new", *arguments)
    assert (made.exit_code, made.stdout) == (2, "")
    assert made.stderr.count("\n") == 1
    assert said in made.stderr
    assert list(Path.cwd().iterdir()) == []


def test_a_file_that_exists_is_kept_unless_forced(apx: Apx) -> None:
    Path("mine.json").write_text("mine")
    assert "exists: choose another --out" in apx("taxonomy", "new", "mine", *FACTS, *PLACE).stderr
    assert Path("mine.json").read_text() == "mine"
    assert apx("taxonomy", "new", "mine", *FACTS, *PLACE, "--force").stdout == "wrote mine.json: MyMethod, 1 variant\n"
    assert json.loads(Path("mine.json").read_text())["slug"] == "mine"


def test_what_would_be_refused_in_the_end_is_refused_before_a_question(
    apx: Apx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apx_cli.taxonomy_new.somebody_answers", lambda: True)
    Path("mine.json").write_text("mine")
    for arguments, said in (
        (("mine",), "the file mine.json exists"),
        (("hydra",), "there is a method 'hydra' already"),
        (("No Slug",), "'No Slug' is no slug"),
        (("other", "--out", "no/entry.json"), "there is no folder no"),
        (("other", "--stage", "before", "--objective", "finetune=pgd"), "no phase 'finetune': use prune, train"),
    ):
        made = apx("taxonomy", "new", *arguments, answer="")
        assert (made.exit_code, made.stdout) == (2, ""), arguments
        assert said in made.stderr
        assert "?" not in made.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mine", *FACTS, *PLACE, "--venue", "\udcff"), "no text in UTF-8"),
        (("mine", *FACTS, *PLACE, "--out", "x" * 300), "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_sentence(apx: Apx, arguments: tuple[str, ...], said: str) -> None:
    made = apx("taxonomy", "new", *arguments)
    assert (made.exit_code, made.stdout) == (2, "")
    assert said in made.stderr
    assert list(Path.cwd().iterdir()) == []


def test_validate_points_at_faults(apx: Apx) -> None:
    apx("taxonomy", "new", "fine", *FACTS, *PLACE)
    Path("bad.json").write_text(Path("fine.json").read_text().replace('"LIS"', '"LOS"'))
    Path("cut.json").write_text(Path("fine.json").read_text()[:-20])
    shown = apx("taxonomy", "validate", "fine.json", "bad.json", "cut.json")
    assert shown.exit_code == 2
    lines = shown.stdout.splitlines()
    assert lines[0] == "fine.json: valid"
    assert lines[1].startswith('bad.json:19: /implements/criterion: "LOS" is not allowed; allowed: "LWM"')
    assert lines[2].startswith("cut.json:")
    assert "bad.json, cut.json: 2 problems" in shown.stderr
    found = json.loads(apx("taxonomy", "validate", "bad.json", "--json").stdout)
    assert [(one["kind"], one["pointer"]) for one in found["bad.json"]] == [("fault", "/implements/criterion")]


def test_a_file_that_cannot_be_read_hides_nothing_of_the_others(apx: Apx) -> None:
    Path("bad.json").write_text("[]")
    shown = apx("taxonomy", "validate", "nowhere.json", ".", "bad.json")
    assert shown.exit_code == 2
    assert shown.stdout == (
        "nowhere.json:1: the document: cannot be read: No such file or directory\n"
        ".:1: the document: cannot be read: Is a directory\n"
        "bad.json:1: the document: the list holds no entry\n"
    )
    assert "3 problems; mend what is listed" in shown.stderr
    assert set(json.loads(apx("taxonomy", "validate", "nowhere.json", "bad.json", "--json").stdout)) == {
        "nowhere.json",
        "bad.json",
    }


def test_advice_is_shown_and_leaves_an_entry_valid(apx: Apx) -> None:
    apx("taxonomy", "new", "mine", *FACTS, *PLACE)
    Path("mine.json").write_text(Path("mine.json").read_text().replace('"trades"', '"tradse"', 1))
    shown = apx("taxonomy", "validate", "mine.json")
    assert shown.exit_code == 0
    first, last = shown.stdout.splitlines()
    assert first == (
        "mine.json:34: /implements/variants/0/phases/0/objectives/0: advice: "
        "\"tradse\" is no objective of the vocabulary; did you mean 'trades'? (a plugin may offer others)"
    )
    assert last == "mine.json: valid"
    [one] = json.loads(apx("taxonomy", "validate", "mine.json", "--json").stdout)["mine.json"]
    assert (one["kind"], one["line"]) == ("advice", 34)


def some(axis: str, max_size: int | None = None) -> st.SearchStrategy[tuple[str, ...]]:
    words = st.sampled_from(AXES[axis].values)
    return st.lists(words, unique=True, min_size=1, max_size=max_size).map(tuple)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    stage = draw(st.sampled_from(list(PHASES)))
    phases = [name for name, always in PHASES[stage].items() if always or draw(st.booleans())]
    return Description(
        slug="mine",
        name=draw(st.text().map("My {}".format)),
        title=draw(st.text(min_size=1)),
        authors=("A",),
        stage=stage,
        year=draw(st.integers(1950, 2100)),
        schedules=draw(some("schedule")),
        structures=draw(some("structure")),
        localities=draw(some("locality")),
        criterion=draw(st.sampled_from(AXES["criterion"].values)),
        granularity=draw(st.sampled_from(AXES["granularity"].values[1:])),
        objectives={name: draw(some("objective", max_size=2)) for name in phases},
    )


@given(descriptions())
def test_any_answers_make_a_valid_entry(description: Description) -> None:
    made = description.entry()
    text = json.dumps(made, indent=2, ensure_ascii=False)
    assert json.loads(text) == made
    assert judge(text.encode()) == Verdict((), ())
    assert len(made["implements"]["variants"]) == (
        len(description.schedules) * len(description.structures) * len(description.localities)
    )


@given(descriptions(), st.data())
def test_any_corrupted_answer_is_found_where_it_stands(description: Description, data: st.DataObject) -> None:
    made = json.loads(json.dumps(description.entry()))
    places = list(leaves(made))
    container, step, pointer = data.draw(st.sampled_from(places))
    container[step] = {"not": "this"}
    lines = json.dumps(made, indent=2).splitlines()
    [inside] = [number for number, line in enumerate(lines, 1) if '"not": "this"' in line]
    faults = judge("\n".join(lines).encode()).faults
    assert (pointer, inside - 1) in {
        (one.pointer.removesuffix("/not"), one.line - one.pointer.endswith("/not")) for one in faults
    }


def leaves(document: Any, pointer: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Yield (container, step, JSON pointer) of each value that is neither an object nor a list."""
    for step, value in document.items() if isinstance(document, dict) else enumerate(document):
        below = f"{pointer}/{step}"
        if isinstance(value, dict | list):
            yield from leaves(value, below)
        else:
            yield document, step, below


def test_neither_imports_torch_or_numpy() -> None:
    words = ["taxonomy", "new", "mine", *FACTS, *PLACE]
    program = (
        "import os, sys, tempfile; os.chdir(tempfile.mkdtemp())\n"
        "from click.testing import CliRunner; from apx_cli.main import cli\n"
        f"for words in ({words!r}, ['taxonomy', 'validate', 'mine.json']):\n"
        "    done = CliRunner().invoke(cli, words); assert done.exit_code == 0, done.output\n"
        "print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
