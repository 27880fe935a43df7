"""Strangers' plugins with faults, installed with real metadata: each is named, and everything else goes on."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from strangers import entry_document, write_distribution
from torch import nn

import apx
from apx import registry
from apx.registry.inspection import inspect
from apx_cli.plugin_list import list_command

ROOT = Path(__file__).parent.parent
FIRST_PARTY = {json.loads(file.read_text())["slug"] for file in ROOT.glob("plugins/*/src/*/taxonomy.json")}

METHOD_HOOK = """
from apx import hookimpl

@hookimpl
def apx_methods():
    from .method import Mine
    return [Mine]
"""
HOOKS = (
    METHOD_HOOK
    + """
@hookimpl
def apx_objectives():  # every run asks for objectives, so that every run of another method meets this plugin
    return {}
"""
)
METHOD = """
from apx import AfterTraining

class Mine(AfterTraining):
    slug = "{slug}"

    def prune(self, model, run):
        raise NotImplementedError
"""


@dataclass(frozen=True)
class Case:
    """Distributions with one fault: name -> code of the package, and what must be said of the fault.

    `listed` tells the methods that are in the listing all the same, `warned` what the listing says on stderr of each
    distribution, `reason` what the inspection says of each: among its remarks where `harmless`.
    """

    code: dict[str, str]
    reason: str
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    warned: str | None = None
    harmless: bool = False


def faulty(name: str, code: str, reason: str, **more: Any) -> Case:
    """Return a case of one plugin that is listed, since its entry is sound, and fails later."""
    return Case({name: code}, reason, listed=(name,), **more)


def misdescribed(name: str, reason: str, **entry: Any) -> Case:
    """Return a case of one plugin whose entry is at fault, which the listing says."""
    return Case({name: HOOKS}, reason, entries={name: entry_document(**{"slug": name, **entry})}, warned=reason)


CASES = {
    "import error": faulty("no-import", "import a_module_that_is_not_there\n" + HOOKS, "a_module_that_is_not_there"),
    "system exit": faulty("system-exit", "raise SystemExit(3)\n" + HOOKS, "SystemExit: 3"),
    "process exit": faulty("process-exit", "import os\nos._exit(7)\n" + METHOD_HOOK, "ended its process with status 7"),
    "syntax error": faulty("no-syntax", "def broken(:\n" + HOOKS, "SyntaxError"),
    "a hook that raises": faulty(
        "hook-raises", HOOKS.replace("return {}", "raise RuntimeError('out of cheese')"), "RuntimeError: out of cheese"
    ),
    "a hook that exits": faulty("hook-exits", HOOKS.replace("return {}", "raise SystemExit"), "failed: SystemExit"),
    "a hook that returns rubbish": faulty(
        "hook-rubbish", HOOKS.replace("return {}", "return 3"), "apx_objectives returned int, not a dict"
    ),
    "methods that are none": faulty(
        "no-method", HOOKS.replace("return [Mine]", "return [3]"), "returned 3, which is not a class of Method"
    ),
    "a name that core has": faulty(
        "old-name", HOOKS.replace("return {}", "return {'trades': dict}"), "'trades' belongs to apx-core already"
    ),
    "a hook that no file names": faulty(
        "hidden",
        METHOD_HOOK + "\nglobals()['apx_' + 'attacks'] = hookimpl(specname='apx_' + 'attacks')(lambda: {'new': dict})",
        "it answers apx_attacks, but no file of its package names this hook",
    ),
    "a command that apx has": faulty(
        "old-command",
        METHOD_HOOK + "\n@hookimpl\ndef apx_commands():\n    return {'list': print}",
        "the name 'list' belongs to the apx program already",
    ),
    "invalid entry": misdescribed("bad-entry", 'allowed: "survey", "baseline", "other"', origin="mine"),
    "an entry for another API version": misdescribed(
        "future", "written for version 2 of apx's plugin API, and this apx speaks version 1", api="2", colour="red"
    ),
    "a module for another API version": faulty(
        "future-module",
        "apx_api = '2'\n" + HOOKS,
        "it was written for version 2 of apx's plugin API, and this apx speaks version 1",
    ),
    "a slug twice": Case(
        {"slug-a": HOOKS, "slug-b": HOOKS},
        "the slug 'twin' is offered by slug-a 1.0 and slug-b 1.0",
        entries={name: entry_document("twin") for name in ("slug-a", "slug-b")},
        warned="the slug 'twin' is offered by slug-a 1.0 and slug-b 1.0",
    ),
    "a key twice, in another case": Case(
        {"key-a": HOOKS, "key-b": HOOKS},
        "the key 'mine_y2020twins' is offered by key-a 1.0 and key-b 1.0",
        entries={
            "key-a": entry_document("key-a", key="Mine_Y2020TWINS"),
            "key-b": entry_document("key-b", key="mine_y2020twins"),
        },
        warned="the key 'mine_y2020twins' is offered by key-a 1.0 and key-b 1.0",
    ),
    "torch on import": faulty("early-torch", "import torch\n" + HOOKS, "it imports torch when", harmless=True),
    "printing on import": faulty("chatty", "print('{}')\n" + HOOKS, "prints when it is imported", harmless=True),
    "a class without an entry": faulty(
        "second",
        HOOKS.replace("return [Mine]", "return [Mine, type('More', (Mine,), {'slug': 'more'})]"),
        "apx_methods offers a class with slug = 'more', which no taxonomy.json of the package describes",
        harmless=True,
    ),
    "hanging import": faulty(
        "hanging", "import time\ntime.sleep(60)\n" + METHOD_HOOK, "did not finish importing within 2 s"
    ),
    "hanging hook": faulty(
        "hook-hangs",
        METHOD_HOOK.replace("from .method", "import time; time.sleep(60)\n    from .method"),
        "did not finish answering its hooks within 2 s",
    ),
}


def package_of(distribution: str) -> str:
    return f"stranger_{distribution.replace('-', '_')}"


def install(site: Path, case: Case) -> None:
    """Write a case's distributions as an installer would: packages, and metadata beside them."""
    for name, code in case.code.items():
        document = case.entries.get(name, entry_document(name))
        files = {"__init__.py": code, "method.py": METHOD.format(slug=document["slug"])}
        write_distribution(site, name, files, entry=document, package=package_of(name))


def forget_strangers() -> None:
    registry.refresh()
    for module in [name for name in sys.modules if name.startswith("stranger_")]:
        del sys.modules[module]


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def site(tmp_path: Path, case: Case) -> Path:
    install(tmp_path / "site", case)
    return tmp_path / "site"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Install all cases together and return what `apx plugin list --json` says, by distribution."""
    site = tmp_path_factory.mktemp("all")
    for case in CASES.values():
        install(site, case)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry.refresh()
        done = CliRunner().invoke(list_command, ["--json", "--timeout", "2"])
        inspected = [name for name in sys.modules if name.startswith("stranger_")]
    forget_strangers()
    assert done.exit_code == 0, done.stderr
    assert inspected == []  # no stranger's code has run in this process
    return {one["distribution"]: one for one in json.loads(done.stdout)}


def test_another_method_runs(
    case: Case, site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(site))
    registry.refresh()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    images, labels = torch.rand(24, 1, 8, 8), torch.arange(24) % 3
    try:
        pruned, _ = apx.prune(
            network,
            method="magnitude",
            data=((images[:16], labels[:16]), (images[16:], labels[16:])),
            sparsity=0.5,
            settings={"finetune.epochs": 1, "finetune.batch_size": 16, "finetune.steps": 1},
        )
    finally:
        forget_strangers()
    assert apx.reported_sparsity(pruned) == pytest.approx(0.5, abs=0.01)
    assert capfd.readouterr().out == ""  # where a run with --json prints its one document


def test_listing_goes_on_and_prints_one_document(case: Case, site: Path) -> None:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-m", "apx_cli", "list", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert {entry["slug"] for entry in json.loads(done.stdout)} == FIRST_PARTY | set(case.listed)
    if case.warned is None:
        assert done.stderr == ""  # nothing of the plugin has run
    else:
        assert case.warned in done.stderr
        assert all(f"{name} 1.0" in done.stderr for name in case.code)


def test_the_inspection_names_fault_and_distribution(case: Case, report: dict[str, dict[str, Any]]) -> None:
    for name in case.code:
        found = report[name]
        assert (found["version"], found["packages"]) == ("1.0", [package_of(name)])
        messages = [failure["message"] for failure in found["failures"]]
        said, silent = (found["remarks"], messages) if case.harmless else (messages, found["remarks"])
        assert len(said) == 1, said
        assert case.reason in said[0]
        assert silent == []


def test_the_inspection_lists_what_is_sound(report: dict[str, dict[str, Any]]) -> None:
    offered = {name for one in report.values() for name in one["offers"]["methods"]}
    harmless = {"early-torch", "chatty", "second"}
    something_else_at_fault = {"hook-raises", "hook-exits", "hook-rubbish", "old-name", "hidden", "old-command"}
    assert offered == FIRST_PARTY | harmless | something_else_at_fault
    assert report["hidden"]["offers"]["attacks"] == []
    assert report["old-command"]["offers"]["commands"] == []
    assert report["old-name"]["offers"]["objectives"] == []
    assert report["apx-radmm"]["offers"]["objectives"] == ["fgsm-pgd"]
    assert [name for name, one in report.items() if name.startswith("apx-") and one["failures"]] == []


def test_metadata_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing goes on, and so does the inspection where torch breaks too, as it does on metadata of some kinds."""
    info = tmp_path / "torn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(b"[apx]\nhalf a line\n")
    (tmp_path / "torch.py").write_text("raise ImportError('out of order')")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.refresh()
    try:
        assert {entry.slug for entry in registry.entries()} == FIRST_PARTY
        found = {one.distribution: one for one in inspect()}
    finally:
        forget_strangers()
    (torn,) = found["torn-1.0.dist-info"].failures  # named by the folder, since its name may be what is broken
    assert "its metadata cannot be read" in torn.message
    assert "no plugin could be asked what it offers: ImportError: out of order" in found["apx-core"].failures[0].message
    assert found["apx-awt"].offers["methods"] == ("awt",)
    assert [name for name, one in found.items() if one.failures] == ["apx-core", "torn-1.0.dist-info"]


def test_the_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures and remarks stand in sentences below the table, each with its distribution."""
    from apx.registry import Failure, inspection

    offers = dict.fromkeys(inspection.KINDS, ()) | {"methods": ("hydra", "awt"), "criteria": ("new",)}
    fault = Failure("stranger", "1.0", "entry", "/year", "is wrong")
    found = inspection.Inspected("stranger", "1.0", ("package",), offers, (fault,), ("it is odd",))
    monkeypatch.setattr(inspection, "inspect", lambda **_: (found,))
    lines = CliRunner().invoke(list_command).stdout.splitlines()
    assert [line.rstrip() for line in lines[2:]] == [
        "stranger      1.0      methods hydra, awt (entry only); criterion new",
        "",
        "Failures: 1",
        "  stranger 1.0: entry at /year: is wrong",
        "Remarks: 1",
        "  stranger 1.0: it is odd",
    ]
