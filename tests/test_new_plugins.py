"""`apx plugin new`: what it writes installs and passes its own tests; `apx plugin check` holds it to its entry."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from strangers import on_path, write_metadata

from apx_cli.main import cli

Place = tuple[str, str, str, str, str, str]  # stage, schedule, structure, locality, criterion, granularity

COVERING: list[Place] = [  # every two values of stage, schedule, structure and locality meet
    ("before", "1S", "US", "L", "HGM", "weights"),
    ("before", "IT", "S", "G", "LIS", "kernels"),
    ("during", "IT", "US", "L", "RELWM", "weights"),
    ("during", "1S", "S", "G", "SOLWM", "channels"),
    ("after", "1S", "US", "G", "BCS", "weights"),
    ("after", "IT", "S", "L", "LWM", "filters"),
]
ALL: list[Place] = [
    (stage, schedule, structure, locality, "LIS", granularity)
    for stage, schedule, locality in itertools.product(("before", "during", "after"), ("1S", "IT"), "LG")
    for structure, granularity in (("US", "weights"), ("S", "filters"), ("S", "channels"), ("S", "kernels"))
]


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words, prog_name="apx")


def new(folder: Path, slug: str, place: Place = ("after", "1S", "US", "L", "LWM", "weights")) -> Path:
    """Call `apx plugin new` and return the distribution's folder."""
    names = ("stage", "schedule", "structure", "locality", "criterion", "granularity")
    options = [word for name, value in zip(names, place, strict=True) for word in (f"--{name}", value)]
    made = call("plugin", "new", slug, *options, "--out", str(folder / f"apx-{slug}"))
    assert made.exit_code == 0, made.output
    return folder / f"apx-{slug}"


def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        pytest.skip("uv is not on the path: nothing installs the new plugins")
    return found


def install_and_test(places: Sequence[Place], root: Path, workers: int) -> str:
    """Write, install with uv and test a distribution for each place; return what pytest said."""
    folders = [new(root, f"new-{number}", place) for number, place in enumerate(places)]
    site = root / "site"
    subprocess.run(
        [uv(), "pip", "install", "--quiet", "--no-deps", "--target", str(site), *map(str, folders)], check=True
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "APX_HOME": str(root / "home")}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(workers), *map(str, folders)]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_new_plugins_install_and_pass_their_own_tests(tmp_path: Path) -> None:
    assert f"{2 * len(COVERING)} passed" in install_and_test(COVERING, tmp_path, workers=0)


@pytest.mark.slow
def test_a_new_plugin_for_every_place_passes_its_own_tests(tmp_path: Path) -> None:
    assert f"{2 * len(ALL)} passed" in install_and_test(ALL, tmp_path, workers=2)


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Put a new distribution on the path, with the metadata that an installer writes."""
    slug = folder.name.removeprefix("apx-")
    write_metadata(folder / "src", f"apx-{slug}", {slug: f"apx_{slug.replace('-', '_')}"})
    with on_path(folder / "src"):
        yield


def test_check_prints_each_claim_and_its_verdict(tmp_path: Path) -> None:
    with installed(new(tmp_path, "mine")):
        checked = call("plugin", "check", "mine", "--arch", "plain")
    assert checked.exit_code == 0, checked.output
    assert "variant 1 (US weights 1S L uniform) on plain" in checked.output
    claims = ("schedule", "stage", "locality", "granularity", "sparsity", "masked zero", "seed", "resume", "test set")
    lines = {
        " ".join(line.split()[: len(claim.split()) + 1]) for line in checked.output.splitlines() for claim in claims
    }
    assert {f"{claim} ok" for claim in claims} <= lines
    assert checked.output.splitlines()[-1].startswith("mine: 1 of 1 cases judged in ")
    assert checked.output.endswith("; every claim holds\n")


def test_check_catches_a_plugin_that_removes_less_than_asked(tmp_path: Path) -> None:
    folder = new(tmp_path, "liar")
    file = folder / "src" / "apx_liar" / "method.py"
    honest = "        return masks_from_units(self._scores, model, run)"
    assert honest in file.read_text()
    lie = f"        with run.targeting(run.target / 2):\n    {honest}"
    file.write_text(file.read_text().replace(honest, lie))
    with installed(folder):
        checked = call("plugin", "check", "liar", "--arch", "plain", "--arch", "flatten", "--json")
        told = call("plugin", "check", "liar", "--arch", "plain")
    assert checked.exit_code == 1
    document = json.loads(checked.stdout)
    assert document["passed"] is False
    assert [case["network"] for case in document["cases"]] == ["plain", "flatten"]
    failed = {verdict["claim"] for case in document["cases"] for verdict in case["verdicts"] if not verdict["passed"]}
    assert "sparsity" in failed
    assert told.exit_code == 1
    assert "sparsity FAILED: claimed 70.0 % of the weights removed" in told.output
    assert told.output.splitlines()[-1].endswith("failed: sparsity")


@pytest.mark.parametrize(
    ("words", "chosen"),
    [(["--variant", "2"], ["US weights 1S L fixed-nonuniform"]), (["--variant", "us g"], ["US weights 1S G global"])],
)
def test_check_takes_variants_by_number_or_words(words: list[str], chosen: list[str]) -> None:
    checked = call("plugin", "check", "magnitude-before", *words, "--arch", "flatten", "--json")
    assert checked.exit_code == 0
    assert [case["variant"] for case in json.loads(checked.stdout)["cases"]] == chosen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "no-such"], "there is no method 'no-such'"),
        (["check", "awt"], "awt is entry-only: there is no code to check"),
        (["check", "magnitude-before", "--variant", "S"], "no variant 'S'; it has 1: US weights 1S L uniform; 2: "),
        (["check", "magnitude-before", "--arch", "large"], "unknown network 'large'; choose from plain, residual"),
        (["new", "Mine"], "--stage, --schedule, --structure, --locality, --criterion missing"),
        (["new", "mine", "--stage", "sometimes"], "'sometimes' is not a stage: use one of before, during, after"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], said: str) -> None:
    done = call("plugin", *words)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_new_writes_nothing_over_what_is_there(tmp_path: Path) -> None:
    folder = new(tmp_path, "mine")
    place = ["--stage", "after", "--schedule", "1S", "--structure", "US", "--locality", "L", "--criterion", "LWM"]
    again = call("plugin", "new", "mine", *place, "--out", str(folder))
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_what_is_missing_is_asked_for_until_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx_cli.plugin_new.somebody_answers", lambda: True)
    answers = "sometimes\nbefore\none-shot\nLayer-wise\nmagnitude\n"  # the second is asked for again
    words = ["plugin", "new", "mine", "--structure", "US", "--out", str(tmp_path / "apx-mine")]
    asked = CliRunner().invoke(cli, words, prog_name="apx", input=answers)
    assert asked.exit_code == 0, asked.output
    assert "'sometimes' is not a stage: use one of before, during, after" in asked.output
    entry = json.loads((tmp_path / "apx-mine" / "src" / "apx_mine" / "taxonomy.json").read_text())["implements"]
    (variant,) = entry["variants"]
    assert (entry["stage"], entry["criterion"]) == ("before", "LWM")
    assert [variant[word] for word in ("schedule", "structure", "locality")] == ["1S", "US", "L"]
