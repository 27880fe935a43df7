"""Every `apx run` line in a plugin's README names options, a variant and settings that exist."""

import shlex
from pathlib import Path

import pytest

from apx.registry import architectures, entry, load_method, objectives, observers
from apx.runner.request import Request, build_settings, choose_variant
from apx_cli.commands.run import command

PLUGINS = Path(__file__).parent.parent / "plugins"
LINES = [
    line.split("#")[0].strip()
    for readme in sorted(PLUGINS.glob("*/README.md"))
    for line in readme.read_text().splitlines()
    if line.startswith("apx run ")
]


def test_there_are_lines() -> None:
    assert len(LINES) > 20


@pytest.mark.parametrize("line", LINES)
def test_the_line_is_accepted(line: str) -> None:
    asked = command.make_context("run", shlex.split(line)[2:]).params
    assert set(asked["observers"]) <= set(observers())
    if asked["resume"] is not None:  # the request lies in the run directory
        return
    names = Request.__dataclass_fields__
    given = {name: value for name, value in asked.items() if name in names and value is not None}
    request = Request(**given, set=dict(asked["assignments"]))
    method = load_method(request.method)
    variant = choose_variant(entry(request.method).document, request)
    settings = build_settings(method, request, variant)
    assert request.arch in architectures()
    assert request.sparsity is None or settings.sparsity == request.sparsity
    chosen = {value for key, value in request.set.items() if key.endswith(".objective")}
    assert chosen <= set(objectives())
