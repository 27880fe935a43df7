"""The plugin tutorial typed as it is printed: every command, in a copy of the checkout, in its own environment."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .test_tutorial import CLASS, CONTRIBUTING, LISTING, ROOT, with_class

TUTORIAL = CONTRIBUTING[CONTRIBUTING.index("## A method, from the idea to a row of results") :]
PART = re.compile(r"^`(?P<file>[\w./-]+)`(?:, the class)?\n\n```\w+\n.*?^```$|^```sh\n(?P<lines>.*?)^```$", re.M | re.S)


@pytest.mark.slow
def test_the_tutorial_from_its_first_command_to_its_last(tmp_path: Path) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the path, and the tutorial's commands begin with it")
    checkout = tmp_path / "apx"
    skipped = shutil.ignore_patterns(".git", ".venv", "__pycache__", "runs", ".*_cache")
    shutil.copytree(ROOT, checkout, ignore=skipped)
    listings, classes = dict(LISTING.findall(TUTORIAL)), dict(CLASS.findall(TUTORIAL))
    said: dict[str, list[str]] = {}  # what each command printed, each time that it was typed
    for part in PART.finditer(TUTORIAL):
        if part["file"] is not None:
            write(tmp_path / "apx-taylor" / part["file"], listings, classes, part["file"])
            continue
        for line in part["lines"].splitlines():
            said.setdefault(line, []).append(type_in(line, checkout))
    new, whole = said["uv run apx plugin check taylor"]
    assert re.search(r"^taylor: 4 of 4 cases judged in .*; every claim holds$", new, re.M)
    assert re.search(r"^taylor: 7 of 8 cases judged in .*; every claim holds$", whole, re.M)
    assert "4 passed" in said["uv run pytest ../apx-taylor"][0]
    (printed,) = re.findall(r"^ +dense +pruned *\n.*?^```$", TUTORIAL, re.M | re.S)
    for row in printed.splitlines()[2:4]:  # sparsities; accuracies may differ between machines
        assert row.strip() in said["uv run apx run taylor --arch cnn-small"][0]
    assert list((tmp_path / "apx-taylor" / "dist").glob("*.whl"))


def write(file: Path, listings: dict[str, str], classes: dict[str, str], name: str) -> None:
    """Do with an editor what the tutorial says."""
    file.write_text(listings[name] if name in listings else with_class(file.read_text(), classes[name]))


def type_in(line: str, checkout: Path) -> str:
    """Type one line in the checkout, and return what it printed on both streams."""
    own = {"APX_HOME": str(checkout.parent / "home"), "UV_PROJECT_ENVIRONMENT": str(checkout / ".venv")}
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")} | own
    done = subprocess.run(
        line, shell=True, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-4000:]}"
    return done.stdout
