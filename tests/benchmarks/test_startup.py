"""How long the program takes to say something, against an interpreter that imports what it prints with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Compare

COMMANDS = {
    "apx --help": ["--help"],
    "apx list": ["list"],
    "apx show hydra": ["show", "hydra"],
    "apx run --help": ["run", "--help"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_start_up(compare: Compare, command: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["APX_HOME"] = str(tmp_path)

    def process(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)

    script = str(Path(sys.executable).with_name("apx"))
    compare(
        command,
        lambda: process(script, *COMMANDS[command]),
        lambda: process("-c", "import click, rich.table"),
        named="import click, rich.table",
        rounds=21,
    )
