"""What README.md and CONTRIBUTING.md print is what the program accepts, and the tutorial's plugin works as printed."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from strangers import on_path, write_metadata

import apx
from apx import registry
from apx.runner.request import Request, build_settings, choose_variant
from apx.zoo import publish
from apx_cli.main import cli

ROOT = Path(__file__).parent.parent
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
LISTING = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLASS = re.compile(r"^`([\w./-]+)`, the class\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW = re.compile(r"^uv run apx (plugin new .*) --out \S+$", re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ |pip install uv && )?uv run apx (.*)$", re.MULTILINE)
ROW = re.compile(r"^\| \[`([\w-]+)`\]\(plugins/[\w-]+\) \|.*\| (yes|-) \|$", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the tutorial's distribution as it says, install it by hand (no pip, no network) and put it on the path."""
    root = tmp_path_factory.mktemp("stranger") / "apx-taylor"
    make(root)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    points, needs = project["entry-points"]["apx"], project["dependencies"]
    write_metadata(root / "src", project["name"], points, version=project["version"], requires=needs)
    with on_path(root / "src"):
        yield root


def make(root: Path) -> None:
    """Call the tutorial's `apx plugin new`, then write its listings over what that has made."""
    (line,) = NEW.findall(CONTRIBUTING)
    made = CliRunner().invoke(cli, [*shlex.split(line), "--out", str(root)])
    assert made.exit_code == 0, made.output
    tree = re.search(r"^apx-taylor/\n(.*?)^```", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert tree is not None
    files = {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
    assert {line.strip() for line in tree[1].splitlines()} == files
    for name, text in LISTING.findall(CONTRIBUTING):
        assert name in files
        (root / name).write_text(text)
    for name, text in CLASS.findall(CONTRIBUTING):
        (root / name).write_text(with_class((root / name).read_text(), text))


def with_class(source: str, text: str) -> str:
    """Return a module's source with one of its classes replaced by the text of a class of the same name."""
    (new,) = ast.parse(text).body
    assert isinstance(new, ast.ClassDef)
    (old,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == new.name]
    lines = source.splitlines(keepends=True)
    return "".join([*lines[: old.lineno - 1], text, *lines[old.end_lineno :]])


def test_the_method_lists_without_a_warning(plugin: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "apx_cli.main", "list", "--origin", "other", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(plugin / "src")},
    )
    (found,) = [entry for entry in json.loads(listed.stdout) if entry["slug"] == "taylor"]
    assert (found["implemented"], found["distribution"], found["stage"]) == (True, "apx-taylor", "after")
    assert listed.stderr == ""


def test_the_tutorials_own_tests_pass(plugin: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(plugin / "src")}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(plugin)]
    done = subprocess.run(words, cwd=plugin, env=environment, capture_output=True, text=True)
    assert "4 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("line", COMMAND.findall(README + CONTRIBUTING))
def test_a_printed_command_is_accepted(plugin: Path, line: str) -> None:
    arguments = shlex.split(line.partition("  #")[0])
    command: click.Command = cli
    with click.Context(cli) as context:
        while isinstance(command, click.Group):
            found = command.get_command(context, arguments.pop(0))
            assert found is not None
            command = found
        asked = command.make_context(command.name, arguments, parent=context).params
    if command.name == "run" and asked["method"] is not None:
        names = Request.__dataclass_fields__
        given = {name: value for name, value in asked.items() if name in names and value is not None}
        request = Request(**given, set=dict(asked["assignments"]))
        choose_variant(registry.entry(request.method).document, request)
        build_settings(registry.load_method(request.method), request)
    elif command.name in ("show", "compare", "cite"):
        chosen = asked.get("method") or asked.get("methods")
        for name in [chosen] if isinstance(chosen, str) else chosen:
            registry.entry(name)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A zoo that holds the README's key, so that nothing is downloaded: random weights, as many zeros as it says."""
    network = apx.build("resnet18", num_classes=10)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.flatten()[parameter.numel() // 10 :] = 0
    distances = [0.01 * step for step in range(10)]
    publish(tmp_path / "zoo", "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90", network, "resnet18", distances=distances)
    return tmp_path / "zoo"


@pytest.mark.parametrize("code", PYTHON.findall(README))
def test_the_readmes_python_runs(code: str, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(zoo.parent)
    monkeypatch.setenv("APX_ZOO", str(zoo))
    monkeypatch.setenv("APX_HOME", str(zoo.parent / "home"))
    exec(compile(code, "README.md", "exec"), {})


def test_the_readmes_table_of_methods_is_complete() -> None:
    first_party = [entry for entry in registry.entries() if (ROOT / "plugins" / entry.slug).is_dir()]
    assert len(first_party) >= 30
    assert dict(ROW.findall(README)) == {entry.slug: "yes" if entry.implemented else "-" for entry in first_party}


def test_cores_readme_names_every_public_name() -> None:
    section = (ROOT / "core" / "README.md").read_text().split("\n## ")[1]
    named = [
        name for cell in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    ]
    assert sorted(named) == sorted(apx.__all__)
