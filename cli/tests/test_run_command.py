"""run, evaluate, export from the command line, on a network of a few thousand weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Apx = Callable[..., Result]

TINY = ["--arch", "cnn-small", "--width", "4", "--device", "cpu"]
SHORT = ["--set", "pretrain.epochs=1", "--set", "finetune.epochs=1", "--set", "pretrain.steps=1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which method?"),
        (["hidra"], "did you mean 'hydra'"),
        (["dnr"], "entry-only"),
        (["magnitude", "--structure", "structurd"], "did you mean 'S'"),
        (["hydra", "--granularity", "kernels"], "kernels"),
        (["magnitude", "--set", "nonsense=1"], "nonsense"),
        (["magnitude", "--set", "nonsense"], "key=value"),
        (["magnitude", "--sparsity", "1.5"], "sparsity 1.5"),
        (["magnitude", "--sparsity", "nan"], "nan"),
        (["magnitude", "--epochs-scale", "nan"], "'nan' is not a number above 0"),
        (["magnitude", "--seed", "-1"], "--seed"),
        (["magnitude", "--dataset", "digit"], "did you mean 'digits'"),
        (["magnitude", "--dataset", "folder:nowhere"], "nowhere"),
        (["magnitude", "--arch", "resnet"], "did you mean"),
        (["magnitude", "--preset", "fast"], "paper, quick"),
        (["magnitude", "--eval", "all"], "none, quick, standard"),
        (["magnitude", "--from", "nowhere.pt"], "nowhere.pt"),
        (["magnitude", "--config", "nowhere.json"], "nowhere.json"),
        (["magnitude", "--observer", "nobody"], "nobody"),
        (["magnitude", "--out", "taken"], "taken exists"),
        (["magnitude", "--out", "taken", "--dry-run"], "taken exists"),
        (["--resume", "taken"], "not a run directory"),
        (["magnitude", "--resume", "taken"], "no other option"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(apx: Apx, arguments: list[str], said: str) -> None:
    Path("taken").mkdir()
    result = apx("run", *arguments)
    assert result.exit_code == 2, result.exception
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["taken"]
    assert list(Path("taken").iterdir()) == []


def test_a_run_is_evaluated_exported_and_listed(apx: Apx) -> None:
    done = apx("run", "Magnitude", *TINY, *SHORT, "--sparsity", "0.8", "--eval", "none", "--out", "out", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sparsity"]["reported"] == pytest.approx(0.8, abs=0.01)

    again = apx("run", "--resume", "out")  # ended: the report is shown again
    assert again.exit_code == 0
    assert "reported sparsity" in again.stdout
    assert "the paper's setting: apx run magnitude" in again.stdout

    evaluated = apx("evaluate", "out", "--attack", "fgsm", "--eps", "8/255", "--n", "16", "--json", "--out", "r.json")
    assert evaluated.exit_code == 0, evaluated.stderr
    document = json.loads(evaluated.stdout)
    assert document["threat"] == {"norm": "Linf", "eps": 8 / 255}
    assert (document["n"], document["method"], document["dataset"]) == (16, "magnitude", "digits")
    assert json.loads(Path("r.json").read_text()) == document
    assert "robust accuracy (FGSM, Linf 8/255)" in apx("evaluate", "out", "--attack", "FGSM", "--eps", "8/255").stdout

    assert apx("export", "out", "--to", "torch", "--out", "plain.pt").exit_code == 0
    refused = apx("export", "out", "--to", "torch", "--out", "plain.pt")
    assert (refused.exit_code, "--force" in refused.stderr) == (2, True)
    unknown = apx("evaluate", "plain.pt", "--n", "4")
    assert (unknown.exit_code, "--dataset" in unknown.stderr) == (2, True)
    told = ["--arch", "cnn-small", "--width", "4", "--dataset", "digits"]
    clean = ["--attack", "clean", "--n", "16", "--json"]
    of_file = json.loads(apx("evaluate", "plain.pt", *told, *clean).stdout)
    assert of_file["samples"] == json.loads(apx("evaluate", "out", *clean).stdout)["samples"]

    assert apx("export", "out", "--shrink", "--out", "small.safetensors").exit_code == 0
    of_small = apx("evaluate", "small.safetensors", *clean)  # the file says how it was made
    assert json.loads(of_small.stdout)["clean_accuracy"] == of_file["clean_accuracy"]

    config = ["--config", "out/run.json", "--sparsity", "0.5", "--dry-run", "--json"]
    plan = json.loads(apx("run", *config).stdout)
    assert plan["record"]["settings"]["sparsity"] == 0.5
    assert plan["record"]["request"]["arch"] == "cnn-small"
    assert plan["record"]["settings"]["pretrain"]["epochs"] == 1


def test_a_dry_run_shows_settings_and_time_and_writes_nothing(apx: Apx) -> None:
    shown = apx("run", "magnitude", *TINY, "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    assert "seconds per step" in shown.stdout
    assert "batch_size" in shown.stdout
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("target", ["nowhere", "empty"])
def test_evaluate_and_export_refuse_what_is_no_result(apx: Apx, target: str) -> None:
    Path("empty").mkdir()
    for command in ("evaluate", "export"):
        result = apx(command, target)
        assert result.exit_code == 2
        assert target in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_run_that_has_not_ended_cannot_be_evaluated(apx: Apx) -> None:
    Path("out").mkdir()
    Path("out/run.json").write_text('{"apx_run": 1, "request": {}}')
    assert "apx run --resume out" in apx("evaluate", "out").stderr


def test_a_shrunk_network_can_be_exported_once_more(apx: Apx) -> None:
    structured = ["--structure", "S", "--granularity", "filters", "--sparsity", "0.5"]
    assert apx("run", "magnitude", *TINY, *SHORT, *structured, "--eval", "none", "--out", "out").exit_code == 0
    clean = ["--attack", "clean", "--n", "16", "--json"]
    whole = json.loads(apx("evaluate", "out", *clean).stdout)
    assert apx("export", "out", "--shrink", "--out", "small.safetensors").exit_code == 0
    for options in ([], ["--shrink"]):
        exported = apx("export", "small.safetensors", *options, "--out", "again.safetensors", "--force")
        assert exported.exit_code == 0, exported.stderr
        again = json.loads(apx("evaluate", "again.safetensors", *clean).stdout)
        assert again["samples"] == whole["samples"]


def test_the_dense_network_of_a_run_can_be_exported(apx: Apx) -> None:
    assert apx("run", "magnitude", *TINY, *SHORT, "--eval", "quick", "--out", "out").exit_code == 0
    assert apx("export", "out", "--dense", "--out", "dense.safetensors").exit_code == 0
    dense = json.loads(apx("evaluate", "dense.safetensors", "--json").stdout)
    report = json.loads(Path("out/report.json").read_text())
    assert dense["clean_accuracy"] == report["results"]["dense"]["clean_accuracy"]
    assert dense["robust_accuracy"] == report["results"]["dense"]["robust_accuracy"]
    assert (dense["method"], dense["sparsity"]["reported"]) == (None, 0.0)
    refused = apx("export", "dense.safetensors", "--dense", "--out", "again.safetensors")
    assert (refused.exit_code, "as a run directory does" in refused.stderr) == (2, True)
