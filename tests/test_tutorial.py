"""What README.md and CONTRIBUTING.md print is what the program accepts, and the tutorial's plugin works as printed."""

import importlib
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import apx
from apx import registry
from apx.run.request import Request, build_settings, choose_variant
from apx_cli.main import cli

ROOT = Path(__file__).parent.parent
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
LISTING = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ |pip install uv && )?uv run apx (.*)$", re.MULTILINE)
ROW = re.compile(r"^\| \[`([\w-]+)`\]\(plugins/[\w-]+\) \|.*\| (yes|-) \|$", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write the tutorial's distribution, install it by hand (no pip, no network) and put it on the path."""
    root = tmp_path_factory.mktemp("stranger")
    for name, text in LISTING.findall(CONTRIBUTING):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    site = root / "src"
    install(root / "pyproject.toml", site)
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    registry.refresh()
    yield root
    sys.path.remove(str(site))
    for name in [name for name in sys.modules if name.partition(".")[0] == "apx_taylor"]:
        del sys.modules[name]
    registry.refresh()


def install(pyproject: Path, site: Path) -> None:
    """Write the metadata that an installer would."""
    project = tomllib.loads(pyproject.read_text())["project"]
    folder = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir()
    needs = "".join(f"Requires-Dist: {need}\n" for need in project["dependencies"])
    facts = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{needs}"
    (folder / "METADATA").write_text(facts)
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["apx"].items())
    (folder / "entry_points.txt").write_text(f"[apx]\n{points}")


def test_the_tutorial_prints_every_file_that_it_lists(plugin: Path) -> None:
    tree = re.search(r"^apx-taylor/\n(.*?)^```", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert tree is not None
    assert {line.strip() for line in tree[1].splitlines()} == {name for name, _ in LISTING.findall(CONTRIBUTING)}


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


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", CONTRIBUTING, re.MULTILINE))
def test_the_tutorials_own_tests_pass(plugin: Path, name: str) -> None:
    runpy.run_path(str(plugin / "tests" / "test_taylor.py"))[name]()


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


@pytest.mark.parametrize("code", PYTHON.findall(README))
def test_the_readmes_python_runs(code: str) -> None:
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
