"""`apx taxonomy`: an entry from options or from answers, faults pointed at, nothing left behind by a mistake."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from apx.scaffold import PHASES, Description
from apx_taxonomy import AXES, validate

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
        "My Method", "A Title", "A. Author, B. Author", "20x6", "2026", "ICML", "no link", "https://example.org", "",
        "", "sometimes", "before", "one-shot, IT", "S", "kernels", "L", "HGM", "", "made-up", "pgd, kd",
    ]  # fmt: skip
    made = apx("taxonomy", "new", "--json", answer="\n".join(answers) + "\n")
    assert made.exit_code == 0, made.stderr
    entry = json.loads(made.stdout)
    assert (entry["slug"], entry["venue"], entry["url"]) == ("my-method", "ICML", "https://example.org")
    assert [v["schedule"] for v in entry["implements"]["variants"]] == ["1S", "IT"]
    assert {v["granularity"] for v in entry["implements"]["variants"]} == {"kernels"}
    assert entry["implements"]["variants"][0]["phases"] == [{"name": "train", "objectives": ["pgd", "kd"]}]
    for said in (
        "is no year",
        "is no address",
        "'sometimes' is not a stage",
        "'made-up' is not a objective",
        "prune, then train",
    ):
        assert said in made.stderr


def test_an_interrupted_interview_leaves_nothing(apx: Apx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx_cli.taxonomy_new.somebody_answers", lambda: True)
    assert apx("taxonomy", "new", "mine", answer="My Method\n").exit_code == 1
    assert list(Path.cwd().iterdir()) == []


def test_mistakes_are_one_sentence_and_leave_nothing(apx: Apx) -> None:
    for arguments, said in (
        (("mine",), "--name, --title, --author, --year, --stage, --schedule, --structure, --locality, --criterion, "
                    "--objective missing"),
        (("hydra", *FACTS, *PLACE), "there is a method 'hydra' already"),
        (("mine", *FACTS, *PLACE, "--key", "HYDRA_Sehwag2020Hydra"), "is HYDRA's already"),
        (("mine", *FACTS, *PLACE, "--locality", "middle"), "'middle' is not a locality: use one of L, G"),
        (("mine", *FACTS, *PLACE, "--objective", "train=pgd"), "no phase 'train': use pretrain, prune, finetune"),
        (("mine", *FACTS, *PLACE[:-2]), "what does finetune minimise?"),
        (("mine", *FACTS, *PLACE, "--url", "example"), "/url"),
        (("mine", *FACTS, *PLACE, "--out", "no/entry.json"), "there is no folder no"),
    ):  # fmt: skip
        made = apx("taxonomy", "new", *arguments)
        assert (made.exit_code, made.stdout) == (2, ""), arguments
        assert said in made.stderr
    assert list(Path.cwd().iterdir()) == []
    Path("mine.json").write_text("mine")
    assert "exists: choose another --out" in apx("taxonomy", "new", "mine", *FACTS, *PLACE).stderr
    assert Path("mine.json").read_text() == "mine"


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
    assert found["bad.json"][0]["pointer"] == "/implements/criterion"
    assert "cannot read nowhere.json" in apx("taxonomy", "validate", "nowhere.json").stderr


def some(axis: str, **sizes: int) -> st.SearchStrategy[tuple[str, ...]]:
    words = st.sampled_from(AXES[axis].values)
    return st.lists(words, unique=True, min_size=1, **sizes).map(tuple)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    stage = draw(st.sampled_from(list(PHASES)))
    phases = [name for name, always in PHASES[stage].items() if always or draw(st.booleans())]
    return Description(
        slug="mine", name=draw(st.text(min_size=1)), title=draw(st.text(min_size=1)), authors=("A",), stage=stage,
        year=draw(st.integers(1950, 2100)), schedules=draw(some("schedule")), structures=draw(some("structure")),
        localities=draw(some("locality")), criterion=draw(st.sampled_from(AXES["criterion"].values)),
        granularity=draw(st.sampled_from(AXES["granularity"].values[1:])),
        objectives={name: draw(some("objective", max_size=2)) for name in phases},
    )  # fmt: skip


@given(descriptions())
def test_any_answers_make_a_valid_entry(description: Description) -> None:
    made = description.entry()
    assert validate(json.loads(json.dumps(made)), "entry") == []
    assert len(made["implements"]["variants"]) == (
        len(description.schedules) * len(description.structures) * len(description.localities)
    )


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
