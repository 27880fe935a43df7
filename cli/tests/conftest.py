"""What the command's tests share: the program in this process, with a cache folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from apx_cli.main import cli

Apx = Callable[..., Result]


@pytest.fixture
def apx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apx:
    """Call the program as a shell does, in an empty working directory."""
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def call(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, prog_name="apx", input=answer)

    return call
