"""Strangers' plugins, one per hook beside methods: each a distribution on the path, used through the public surface.

The tutorial's test has a stranger's method as well; here one is there to use another stranger's criterion by its name.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from strangers import entry_document, on_path, write_distribution

from apx import registry
from apx_cli.main import cli

ARCHITECTURE = """
from apx import hookimpl

@hookimpl
def apx_architectures():
    return {"stranger-net": net}

def net(*, num_classes, in_channels=1, width=None):
    from torch import nn
    channels = width or 4
    layers = [nn.Conv2d(in_channels, channels, 3), nn.ReLU(), nn.Flatten(), nn.Linear(channels * 36, num_classes)]
    return nn.Sequential(*layers)
"""
DATASET = """
from apx import hookimpl

@hookimpl
def apx_datasets():
    return {"stranger-data": data}

def data():
    import torch
    from apx import Dataset, Split

    def split(count):
        labels = torch.arange(count) % 4
        images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
        images[torch.arange(count), 0, 2 * labels] = 200
        return Split(images, labels)

    return Dataset("stranger-data", split(32), split(8), split(12), num_classes=4, threat_eps=0.25)
"""
OBJECTIVE = """
from apx import hookimpl

@hookimpl
def apx_objectives():
    from apx import Objective

    class Squared(Objective):
        name = "stranger-loss"

        def loss(self, model, batch):
            return 1000 + (model(batch.x) ** 2).mean()

    return {"stranger-loss": Squared}
"""
CRITERION = """
from apx import hookimpl

@hookimpl
def apx_criteria():
    from apx.specifics import Criterion

    class Last(Criterion):
        label = "LIS"

        def scores(self, model, names, run):
            import torch
            shapes = {name: model.fold(name).shape for name in names}
            return {name: torch.arange(float(shape.numel())).view(shape) for name, shape in shapes.items()}

    class Needy(Last):
        def __init__(self, scores):
            pass

    class Misshapen(Last):
        def scores(self, model, names, run):
            return {name: model.fold(name).flatten() for name in names}

    return {"stranger-last": Last, "stranger-needy": Needy, "stranger-flat": Misshapen(), "stranger-thing": 3}
"""
ATTACK = """
from apx import hookimpl

@hookimpl
def apx_attacks():
    return {
        "stranger-grey": grey,
        "stranger-shape": lambda model, x, y, *, eps: x[:, :, :2],
        "stranger-far": lambda model, x, y, *, eps: x + 2 * eps,
        "stranger-nan": lambda model, x, y, *, eps: x * float("nan"),
        "stranger-needless": lambda model, x, y: x,
    }

def grey(model, x, y, *, eps, seed, pull=0.5):
    return (x + (pull - x).clamp(-eps, eps)).clamp(0, 1)
"""
OBSERVER = """
from apx import hookimpl

@hookimpl
def apx_observers():
    from apx import Observer

    class Diary(Observer):
        def run_start(self, run):
            self.file = (run.directory.path / "diary.txt").open("w")
            print("start", run.seed, file=self.file)

        def epoch(self, record):
            print("epoch", record["phase"], record["epoch"], record["loss"] > 500, file=self.file, flush=True)

        def phase_end(self, phase, model):
            print("end", phase, file=self.file, flush=True)

    return {"stranger-diary": Diary, "stranger-list": list}
"""
COMMAND = """
from apx import hookimpl

@hookimpl
def apx_commands():
    import click
    from apx import UserError, entry

    @click.command()
    @click.argument("method")
    def year(method):
        found = entry(method)
        if found.year > 2020:
            raise UserError(f"{found.name} is of {found.year}: too young")
        click.echo(f"{found.name} is of {found.year}")

    return {"stranger-year": year}
"""
METHOD = """
from apx import hookimpl

@hookimpl
def apx_methods():
    from apx import AfterTraining, MethodSettings, TrainSettings
    from apx.specifics import masks_by

    class BorrowingSettings(MethodSettings):
        criterion: str = "stranger-last"
        pretrain: TrainSettings = TrainSettings(objective="nat", epochs=0)
        finetune: TrainSettings = TrainSettings(objective="nat", epochs=0)

    class Borrowing(AfterTraining):
        slug = "stranger-method"
        Settings = BorrowingSettings
        presets = {"quick": {}}

        def prune(self, model, run):
            return masks_by(self.settings.criterion, model, run)

    return [Borrowing]
"""
PLUGINS = {
    "stranger-architecture": ARCHITECTURE,
    "stranger-dataset": DATASET,
    "stranger-objective": OBJECTIVE,
    "stranger-criterion": CRITERION,
    "stranger-attack": ATTACK,
    "stranger-observer": OBSERVER,
    "stranger-command": COMMAND,
    "stranger-method": METHOD,
}
Apx = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install the plugins as an installer would, each in a distribution of its own, and put them on the path."""
    site = tmp_path_factory.mktemp("strangers")
    for name, code in PLUGINS.items():
        entry = entry_document(name) if code is METHOD else None
        write_distribution(site, name, {"__init__.py": code}, entry=entry, version="1.5")
    with on_path(site):
        yield


@pytest.fixture(scope="module")
def apx() -> Apx:
    """Call the program as a shell does."""
    return lambda *arguments: CliRunner().invoke(cli, [str(one) for one in arguments], prog_name="apx")


@pytest.fixture(scope="module")
def run(apx: Apx, strangers: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run of a first-party method on a stranger's network, data, objective and observer."""
    out = tmp_path_factory.mktemp("runs") / "run"
    each = ("epochs=1", "steps=1", "augment=false")
    settings = [f"{phase}.{one}" for phase in ("pretrain", "finetune") for one in each]
    given = [word for one in [*settings, "finetune.objective=stranger-loss"] for word in ("--set", one)]
    network = ("--arch", "stranger-net", "--width", 3, "--dataset", "stranger-data", "--precision", "fp32")
    done = apx("run", "magnitude", *network, *given, "--observer", "stranger-diary", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    return out


def report(run: Path) -> dict[str, Any]:
    return json.loads((run / "report.json").read_text())


def test_no_stranger_is_at_fault() -> None:
    registry.commands()
    assert [one for one in registry.failures() if one.distribution in PLUGINS] == []


def test_a_strangers_network_and_data_are_pruned_by_a_first_party_method(run: Path) -> None:
    made = report(run)
    request = made["record"]["request"]
    assert (request["arch"], request["dataset"], request["width"]) == ("stranger-net", "stranger-data", 3)
    assert made["sparsity"]["reported"] == pytest.approx(0.9, abs=0.02)
    assert [made["results"][name]["n"] for name in ("dense", "pruned")] == [12, 12]
    assert made["results"]["pruned"]["threat"]["eps"] == 0.25


def test_a_strangers_observer_hears_of_a_strangers_objective(run: Path) -> None:
    """The objective's losses lie above 1000; pretraining has another objective."""
    assert (run / "diary.txt").read_text().splitlines() == [
        "start 0",
        "epoch pretrain/train 0 False",
        "end pretrain/train",
        "end pretrain",
        "end prune",
        "epoch finetune 0 True",
        "end finetune",
    ]


def test_a_strangers_attack_attacks(apx: Apx, run: Path, tmp_path: Path) -> None:
    done = apx("evaluate", run, "--attack", "stranger-grey", "--seed", 7, "--out", tmp_path / "results.json")
    assert done.exit_code == 0, done.output
    assert "STRANGER-GREY, Linf 0.25" in done.output
    document = json.loads((tmp_path / "results.json").read_text())
    (attack,) = document["attacks"]
    assert (attack["name"], attack["parameters"]) == ("stranger-grey", {"eps": 0.25, "seed": 7, "pull": 0.5})
    assert document["versions"]["stranger-attack"] == "1.5"


def test_a_strangers_command_is_a_command(apx: Apx) -> None:
    assert apx("stranger-year", "hydra").output == "HYDRA is of 2020\n"
    young = apx("stranger-year", "twinrep")
    assert (young.exit_code, young.output.startswith("Error: TwinRep is of ")) == (2, True)


def borrow(apx: Apx, out: Path, *more: object) -> Result:
    target = ("--arch", "stranger-net", "--dataset", "stranger-data", "--sparsity", 0.5, "--eval", "none")
    return apx("run", "stranger-method", *target, "--out", out, "--json", *more)


def test_a_strangers_method_ranks_by_another_strangers_criterion(apx: Apx, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    done = borrow(apx, tmp_path / "run")
    assert done.exit_code == 0, done.output
    weight = load_file(tmp_path / "run" / "model.safetensors")["0.weight"].flatten()
    assert ((weight != 0).tolist()) == [False] * 18 + [True] * 18, "the last half of the layer stays"


CRITERIA = {
    "stranger-lost": r"unknown criterion 'stranger-lost', did you mean 'stranger-last'\?; allowed: HGM, LWM, RANDOM,",
    "stranger-thing": "the criterion 'stranger-thing' that a plugin offers is 3; it must be an apx.specifics.Criterion",
    "stranger-needy": "the criterion 'stranger-needy' that a plugin offers cannot be made by its name alone",
    "stranger-flat": r"the criterion Misshapen scored 0.weight by \[36\]; it must return a tensor of \[4, 1, 3, 3\]",
}
ATTACKS = {
    "stranger-gray": r"unknown attack 'stranger-gray', did you mean 'stranger-grey'\?; allowed: apgd-ce, apgd-dlr,",
    "stranger-shape": r"the attack 'stranger-shape' returned torch.float32 \[\d+, 1, 2, 8\]; it must return float",
    "stranger-far": r"the attack 'stranger-far' left the threat model: .* up to 0.5 from .* \(Linf, eps is 0.25\)",
    "stranger-nan": "the attack 'stranger-nan' left the threat model",
    "stranger-needless": r"'stranger-needless' that a plugin offers is no function of \(model, x, y, \*, eps\)",
}
OBSERVERS = {
    "stranger-dairy": r"unknown run observer 'stranger-dairy', did you mean 'stranger-diary'\?; allowed: .*tensorboard",
    "stranger-list": r"the run observer 'stranger-list' that a plugin offers is \[\], not an apx.Observer",
}


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_that_is_none_is_a_plain_error(apx: Apx, tmp_path: Path, name: str) -> None:
    assert_refused(borrow(apx, tmp_path / "run", "--set", f"criterion={name}"), CRITERIA[name])


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_that_breaks_its_contract_is_a_plain_error(apx: Apx, run: Path, name: str) -> None:
    assert_refused(apx("evaluate", run, "--attack", name), ATTACKS[name])


@pytest.mark.parametrize("name", OBSERVERS)
def test_an_observer_that_is_none_is_a_plain_error(apx: Apx, tmp_path: Path, name: str) -> None:
    assert_refused(borrow(apx, tmp_path / "run", "--observer", name), OBSERVERS[name])
    assert not (tmp_path / "run").exists()


def assert_refused(result: Result, said: str) -> None:
    """Exit status 2, and the last line says why."""
    assert result.exit_code == 2, result.output
    assert re.search(said, result.output.splitlines()[-1]), result.output
