"""Dependencies point one way: cli -> core -> taxonomy, plugins -> core, and nobody imports a plugin."""

import ast
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def packages(root: Path) -> dict[str, tuple[str, Path]]:
    """Return each member's package: name -> (room, folder); a plugin's room is `plugin`."""
    found = {}
    for room, pattern in (("core", "core"), ("taxonomy", "taxonomy"), ("cli", "cli"), ("plugin", "plugins/*")):
        for member in sorted(root.glob(f"{pattern}/pyproject.toml")):
            name = tomllib.loads(member.read_text())["tool"]["uv"]["build-backend"]["module-name"]
            found[name] = (room, member.parent / "src" / name)
    return found


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level package) of every absolute import of a file, also those inside functions."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value).partition(".")[0]


ALLOWED = {
    "taxonomy": {"taxonomy"},
    "core": {"core", "taxonomy"},
    "cli": {"cli", "core", "taxonomy"},
    "plugin": {"core"},  # and itself
}


def violations(root: Path) -> list[str]:
    """Return every import that points the wrong way, as `file:line imports package`."""
    rooms = packages(root)
    found = []
    for name, (room, folder) in rooms.items():
        for file in sorted(folder.rglob("*.py")):
            for line, package in imported(file):
                if package in rooms and package != name and rooms[package][0] not in ALLOWED[room]:
                    found.append(f"{file.relative_to(root).as_posix()}:{line} imports {package}")
    return found


def test_dependencies_point_one_way() -> None:
    assert {"apx", "apx_taxonomy", "apx_cli", "apx_hydra"} <= set(packages(ROOT))
    assert violations(ROOT) == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("house")
    for folder in ("core", "taxonomy", "cli", "plugins/hydra", "plugins/twinrep"):
        skip = shutil.ignore_patterns("tests", "__pycache__", "*.json")
        shutil.copytree(ROOT / folder, root / folder, ignore=skip)
    return root


@pytest.mark.parametrize(
    ("file", "planted"),
    [
        ("taxonomy/src/apx_taxonomy/planted.py", "import apx"),
        ("core/src/apx/planted.py", "from apx_cli.main import cli"),
        ("core/src/apx/registry/planted.py", "def late():\n    import apx_hydra.method"),
        ("core/src/apx/planted.py", "import importlib\nimportlib.import_module('apx_hydra')"),
        ("cli/src/apx_cli/planted.py", "import apx_twinrep as t"),
        ("plugins/hydra/src/apx_hydra/planted.py", "from apx_twinrep import method"),
        ("plugins/hydra/src/apx_hydra/planted.py", "from apx_cli import output"),
        ("plugins/hydra/src/apx_hydra/planted.py", "import apx_taxonomy"),
    ],
)
def test_a_planted_violation_is_found(copy: Path, file: str, planted: str) -> None:
    assert violations(copy) == []
    target = copy / file
    target.write_text(planted + "\n")
    try:
        assert [one.split(":")[0] for one in violations(copy)] == [file]
    finally:
        target.unlink()


def test_a_plugin_depends_on_core_alone() -> None:
    """No first-party plugin asks for a privilege in its metadata: nothing of apx's but core."""
    for member in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        needs = tomllib.loads(member.read_text())["project"]["dependencies"]
        ours = [need for need in needs if need.startswith("apx")]
        assert ours == ["apx-core"], member
