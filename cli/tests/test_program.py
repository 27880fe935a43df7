"""The program as a whole: unknown commands, plugins' commands, exit statuses, warnings."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from strangers import on_path, write_distribution

from apx import diagnosis, registry
from apx.registry import Failure

Apx = Callable[..., Result]
APX = [sys.executable, "-m", "apx_cli.main"]

COMMAND = """
import click
from apx import hookimpl

@click.command()
def greet():
    "Say hello."
    click.echo("hello")

@hookimpl
def apx_commands():
    return {"greet": greet, "list": greet}
"""


@pytest.fixture
def greeter(tmp_path: Path) -> Iterator[None]:
    """Install a plugin that offers a command, and one that does not load."""
    site = tmp_path / "site"
    for name, init in (("greeter", COMMAND), ("wreck", "apx_commands = 1 / 0")):
        write_distribution(site, name, {"__init__.py": init}, package=f"plugin_{name}")
    with on_path(site):
        yield


def test_help_lists_the_commands_in_order(apx: Apx) -> None:
    text = apx("--help").stdout
    commands = [line.split()[0] for line in text.split("Commands:")[1].splitlines() if line[2:3].isalpha()]
    looking = ["list", "show", "compare", "cite"]
    doing = ["run", "evaluate", "leaderboard", "report", "curve", "analyze", "bench", "quantize", "export"]
    assert commands == [*looking, *doing, "runs", "zoo", "submit", "taxonomy", "cache", "plugin", "doctor"]


def test_an_unknown_command_names_the_nearest(apx: Apx) -> None:
    result = apx("lst")
    assert result.exit_code == 2
    assert result.stderr == "Error: there is no command 'lst', did you mean 'list'? `apx --help` lists all commands\n"


def test_a_wrong_option_is_one_line(apx: Apx) -> None:
    for arguments in (["list", "--colour", "red"], ["evaluate"], ["evaluate", "x", "--eps", "8/0"], ["run", "a", "b"]):
        result = apx(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("greeter")
def test_a_plugins_command_runs_and_cannot_replace_a_built_in_one(apx: Apx) -> None:
    assert apx("greet").stdout == "hello\n"
    assert "hello" not in apx("list").stdout


@pytest.mark.usefixtures("greeter")
def test_doctor_tells_what_is_broken(apx: Apx, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(apx("doctor", "--json").stdout)
    assert {"greet", "list"} <= set(found["plugins"]["commands"])
    assert found["plugins"]["methods"] == len(registry.entries())
    assert {failure["distribution"] for failure in found["failures"]} == {"wreck"}
    assert "ZeroDivisionError" in found["failures"][0]["message"]
    assert found["versions"]["torch"]
    assert found["machine"]["threads"] >= 1
    monkeypatch.setattr(diagnosis, "diagnose", lambda: found)
    assert "Failures: 1\n  wreck 1.0: load: it cannot be loaded" in apx("doctor").stdout


def test_plugin_failures_are_short_and_on_stderr(apx: Apx, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [Failure("bad", "1.0", "entry", f"/field{number}", "is wrong") for number in range(5)]
    monkeypatch.setattr(registry, "failures", lambda: faults)
    result = apx("list", "--json")
    assert len(json.loads(result.stdout)) == len(registry.entries())
    assert result.stderr.splitlines() == [
        "Warning: bad 1.0: entry at /field0: is wrong",
        "Warning: bad 1.0: entry at /field1: is wrong",
        "Warning: bad 1.0: entry at /field2: is wrong",
        "Warning: bad: 2 more; `apx doctor` shows all",
    ]


def test_a_pipe_gets_whole_plain_lines() -> None:
    done = subprocess.run([*APX, "list"], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == len(registry.entries()) + 3


def test_an_ascii_terminal_gets_question_marks_not_a_traceback() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*APX, "show", "bcs-p"], capture_output=True, text=True, check=True, env=environment)
    assert "?zdenizci" in done.stdout
