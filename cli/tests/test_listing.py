"""list, show, compare, cite: what they print for people and for programs."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from apx import registry
from apx_cli.output import setting_value

Apx = Callable[..., Result]
METHODS = len(registry.entries())
FIELDS = {"slug", "key", "name", "origin", "stage", "schedules", "structures", "localities", "criterion"}


def test_list_prints_one_row_per_method(apx: Apx) -> None:
    result = apx("list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[0] == "method"
    assert lines[-1] == f"{METHODS} of {METHODS} methods"
    assert len(lines) == METHODS + 3
    (hydra,) = [line for line in lines if line.startswith("hydra ")]
    assert hydra.split() == ["hydra", "2020", "after", "1S", "US", "weights", "L", "LIS", "AT", "yes"]


def test_list_as_json_has_the_documented_fields(apx: Apx) -> None:
    result = apx("list", "--json")
    methods = json.loads(result.stdout)
    assert len(methods) == METHODS
    assert all(set(method) >= FIELDS | {"implemented", "distribution", "version"} for method in methods)
    twinrep = next(method for method in methods if method["slug"] == "twinrep")
    assert twinrep["schedules"] is None  # not specified by the survey
    assert twinrep["structures"] == ["US", "S"]


def test_filters_combine(apx: Apx) -> None:
    def found(*arguments: str) -> set[str]:
        return {method["slug"] for method in json.loads(apx("list", "--json", *arguments).stdout)}

    assert len(found("--criterion", "LIS", "--origin", "survey")) == 11
    assert found("--origin", "other") == {"synflow"}
    assert found("--criterion", "least importance score") == found("--criterion", "lis")
    assert found("--stage", "After", "--structure", "structured", "--locality", "local", "--criterion", "LIS") == {
        "fsrp",
        "luo23",
        "sr-gkp",
    }
    assert found("--origin", "baseline") == {"magnitude", "magnitude-before", "random", "random-before"}
    assert "robustbird" in found("--schedule", "IT")
    assert "robustbird" not in found("--schedule", "IT", "--by", "implements")
    assert found("--implemented") | found("--entry-only") == found()
    assert not found("--implemented") & found("--entry-only")
    assert found("--year", "2018-2019") == {"cosentino19", "radmm", "rsr", "sehwag19"}


def test_a_wrong_filter_is_one_line_with_the_valid_values(apx: Apx) -> None:
    result = apx("list", "--criterion", "LSI")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: 'LSI' is not a criterion: use one of LWM, SOLWM, RELWM, LIS")
    assert "'LIS'?" in result.stderr


def test_a_list_of_nothing_says_so(apx: Apx) -> None:
    asked = ("list", "--stage", "before", "--structure", "S", "--origin", "survey")
    result = apx(*asked)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no method" in result.stderr
    assert json.loads(apx(*asked, "--json").stdout) == []


def test_asking_the_survey_for_an_objective_says_what_it_knows(apx: Apx) -> None:
    assert "--by implements" in apx("list", "--objective", "trades").stderr
    assert apx("list", "--objective", "AT").stderr == ""
    assert apx("list", "--objective", "trades", "--by", "implements").stderr == ""


def test_show_prints_both_blocks_and_why_they_differ(apx: Apx) -> None:
    shown = apx("show", "RobustBird").stdout
    assert "Sparsity Winning Twice" in shown
    (schedules,) = [line for line in shown.splitlines() if line.startswith("schedules *")]
    assert schedules.split() == ["schedules", "*", "IT", "1S"]
    assert "schedules: The survey says iterative" in shown
    assert "commit 0ae46e7" in shown  # the disputed value with its source
    document = json.loads(apx("show", "robustbird", "--json").stdout)
    assert document["survey"]["schedules"] == ["IT"]
    assert document["implements"]["variants"][0]["schedule"] == "1S"
    assert document["distribution"] == "apx-robustbird"


def test_show_prints_the_papers_settings_with_their_sources(apx: Apx) -> None:
    shown = apx("show", "robustbird").stdout
    rows = [line.split(maxsplit=1) for line in shown.partition("Settings of --preset paper")[2].splitlines()]
    values = {row[0]: " ".join(row[1].split()) for row in rows if len(row) == 2}
    assert values["train.eps"] == "8/255 official code, Robust-Bird/train_eb.py"
    assert values["train.milestones"] == "[0.25, 0.75] official code, Robust-Bird/train_eb.py"
    assert values["train.lr"].startswith("(svhn) 0.01 apx: no official setting")  # the row behind the general one
    document = json.loads(apx("show", "robustbird", "--json").stdout)
    assert document["implements"]["hyperparameters"][0]["settings"]["train.epochs"] == 200
    assert "--preset paper" not in apx("show", "bcs-p").stdout or registry.entry("bcs-p").hyperparameters


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        ("8/255", "8/255"),
        (0.031, "0.031"),
        (0.2, "0.2"),  # and not 51/255
        (5e-4, "0.0005"),
        (6.0, "6"),
        (1 / 3, "0.3333333333333333"),
        (128, "128"),
        (True, "true"),
        (None, "default"),
        ([0.5, 0.75], "[0.5, 0.75]"),
        ({"start": "none"}, '{"start": "none"}'),
        ("sgd", "sgd"),
    ],
)
def test_a_setting_reads_as_one_would_type_it(value: Any, text: str) -> None:
    assert setting_value(value) == text


def test_show_prints_a_method_outside_the_survey(apx: Apx) -> None:
    shown = apx("show", "magnitude").stdout
    assert "baseline" in shown
    assert "differs" not in shown


def test_an_unknown_method_is_one_line_with_the_nearest(apx: Apx) -> None:
    for command in ("show", "compare", "cite"):
        result = apx(command, "hidra")
        assert result.exit_code == 2
        assert (
            result.stderr == "Error: there is no method 'hidra', did you mean 'hydra'? `apx list` shows all methods\n"
        )


def test_compare_marks_what_differs(apx: Apx) -> None:
    lines = apx("compare", "hydra", "harp").stdout.splitlines()
    assert lines[0].split() == ["hydra", "harp"]
    assert any(line.startswith("structure *") for line in lines)
    assert any(line.startswith("stage ") and "*" not in line for line in lines)
    assert [one["slug"] for one in json.loads(apx("compare", "hydra", "harp", "--json").stdout)] == ["hydra", "harp"]


def test_cite_prints_bibtex(apx: Apx) -> None:
    text = apx("cite", "hydra", "twinrep").stdout
    assert text.count("@inproceedings{") + text.count("@article{") == 2
    records = json.loads(apx("cite", "hydra", "--json").stdout)
    assert records[0]["slug"] == "hydra"
    assert records[0]["bibtex"] in text


@pytest.mark.parametrize("arguments", [["list"], ["show", "hydra"], ["compare", "hydra", "harp"], ["cite", "hydra"]])
def test_listing_imports_nothing_heavy(arguments: list[str]) -> None:
    _imports_none_of(arguments, {"torch", "numpy", "pydantic", "sklearn", "pluggy", "apx_hydra"})


@pytest.mark.parametrize("command", ["list", "run", "evaluate", "export", "runs", "cache", "doctor", "show"])
def test_help_imports_nothing_heavy_and_has_an_example(command: str) -> None:
    text = _imports_none_of([command, "--help"], {"torch", "numpy", "pydantic", "sklearn", "rich.table"})
    assert "Example:" in text
    assert f"apx {command}" in text.split("Example:")[1]


def test_json_needs_no_table() -> None:
    _imports_none_of(["list", "--json"], {"rich", "apx_cli.commands.run"})


def _imports_none_of(arguments: list[str], heavy: set[str]) -> str:
    code = (
        "import sys\nfrom apx_cli.main import cli\n"
        f"cli({arguments!r}, prog_name='apx', standalone_mode=False)\n"
        f"found = {heavy!r} & set(sys.modules)\nassert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
