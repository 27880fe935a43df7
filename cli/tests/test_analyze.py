"""apx analyze layers and weights: what they print for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from apx.runner.request import Request
from apx.runner.start import start
from apx_cli.commands.analyze import COMMANDS, command

Analyze = Callable[..., Result]

FAST = ["--steps", "2", "--n", "40", "--device", "cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of a method after training and one before."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APX_HOME", str(folder / "home"))
        for method, phases in (("magnitude", ("pretrain", "finetune")), ("magnitude-before", ("train",))):
            settings = {f"{phase}.{key}": 1 for phase in phases for key in ("epochs", "steps")}
            request = Request(method, arch="cnn-small", width=4, set=settings, eval="none", device="cpu")
            start(request, out=folder / method)
    return folder


@pytest.fixture
def analyze(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Analyze:
    monkeypatch.setenv("APX_HOME", str(runs / "home"))
    monkeypatch.chdir(runs)
    return lambda *arguments: CliRunner().invoke(command, arguments, prog_name="apx analyze")


def test_help_lists_the_commands_and_each_has_an_example(analyze: Analyze) -> None:
    text = analyze("--help").stdout
    assert all(f"  {name} " in text for name in COMMANDS)
    for name in ("layers", "weights"):
        assert f"apx analyze {name}" in analyze(name, "--help").stdout.split("Example:")[1]


def test_layers_prints_a_row_per_tap(analyze: Analyze) -> None:
    result = analyze("layers", "magnitude", *FAST)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("magnitude: 40 of digits, test split; PGD-2, Linf 0.15, largest change 0.15")
    assert lines[1].startswith("network as it is: CA ")
    assert [line.split()[0] for line in lines[5:]] == ["0", "1", "3", "6", "logits"]


def test_layers_prints_the_sweep_and_the_channels(analyze: Analyze) -> None:
    asked = ["--transform", "E=0.001", "--transform", "S=1", "--transform", "R=0.01", "--seeds", "2"]
    more = ["--gate", "always", "--channels", "--decimals", "2"]
    result = analyze("layers", "magnitude", *FAST, *asked, *more)
    assert result.exit_code == 0, result.stderr
    assert "activations rounded to multiples of 0.01, same examples: CA" in result.stdout
    assert "channel of 0" in result.stdout
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    assert {"none", "E=0.001", "S=1", "R=0.01"} <= set(rows)
    assert rows["R=0.01"].count(" to ") == 4
    assert rows["S=1"].count(" to ") == 0


def test_layers_prints_one_document(analyze: Analyze) -> None:
    result = analyze("layers", "magnitude", *FAST, "--sweep", "--seeds", "1", "--eps", "8/255", "--round", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["method"], document["dataset"], document["images"]) == ("magnitude", "digits", 40)
    assert document["attack"]["eps"] == 8 / 255
    assert document["largest_change"] <= 8 / 255 + 1e-6
    assert len(document["transforms"]) == 16
    assert document["layers"][-1]["layer"] == "logits"
    assert document["sparsity"]["reported"] == pytest.approx(0.9, abs=0.01)


def test_weights_compares_with_magnitude(analyze: Analyze) -> None:
    result = analyze("weights", "magnitude")
    assert result.exit_code == 0, result.stderr
    assert "dense network: the run's pretrain phase" in result.stdout
    (total,) = [line for line in result.stdout.splitlines() if line.startswith("all pruned layers")]
    assert "100.0%" in total
    document = json.loads(analyze("weights", "magnitude", "--json").stdout)
    assert document["total"]["jaccard"] == 1.0
    assert [layer["layer"] for layer in document["layers"]] == ["0.weight", "2.weight", "5.weight", "7.weight"]
    assert sum(document["layers"][0]["histogram"]["removed"]) > 0


def test_a_pruned_network_given_as_the_dense_one_is_warned_of(analyze: Analyze) -> None:
    result = analyze("weights", "magnitude-before", "--dense", "magnitude")
    assert result.exit_code == 0, result.stderr
    assert "Warning: 90% of the weights of the dense network (magnitude) are zero" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lyers", "magnitude"], "choose one of layers, weights, ice"),
        (["layers", "nowhere"], "nowhere"),
        (["layers", "magnitude", "--attack", "pdg"], "did you mean 'pgd'"),
        (["layers", "magnitude", "--transform", "Q=1"], "cannot read the transform 'Q=1'"),
        (["layers", "magnitude", "--gate", "never"], "'never'"),
        (["layers", "magnitude", "--eps", "8"], "eps 8"),
        (["layers", "magnitude", "--n", "100000"], "360"),
        (["weights", "nowhere"], "nowhere"),
        (["weights", "magnitude-before"], "prunes before training"),
        (["weights", "magnitude", "--granularity", "rows"], "unknown granularity 'rows'"),
    ],
)
def test_mistakes_are_one_line(analyze: Analyze, arguments: list[str], said: str) -> None:
    result = analyze(*arguments)
    assert result.exit_code == 2, result.exception
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
