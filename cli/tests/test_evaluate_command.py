"""`apx evaluate`: protocols, parameters, targets made by a factory, transfer, mistakes; on untrained small networks."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from apx.runs import evaluations_of, open_run

Apx = Callable[..., Result]

FACTORY = """
import torch
from torch import nn

def make(num_classes, in_channels, image_size):
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, OUTPUTS))

def words():
    return "no network"
"""
ON_DIGITS = ("--dataset", "digits", "--device", "cpu", "--n", "12")
ON_FORTY = (*ON_DIGITS[:-1], "40")  # some of them are classified correctly


@pytest.fixture(autouse=True)
def _factories(apx: Apx) -> Iterator[None]:
    for name, seed, outputs in (("mynet", "0", "num_classes"), ("other", "1", "num_classes"), ("wide", "0", "11")):
        Path(f"{name}.py").write_text(FACTORY.replace("SEED", seed).replace("OUTPUTS", outputs))
    yield
    for name in ("mynet", "other", "wide"):
        sys.modules.pop(name, None)


def document(result: Result) -> dict:
    assert result.exit_code == 0, (result.stderr, result.exception)
    return json.loads(result.stdout)


def test_the_default_is_protocol_quick_and_the_table_says_what_attacked(apx: Apx) -> None:
    quick = document(apx("evaluate", "py:mynet:make", *ON_DIGITS, "--json"))
    assert (quick["protocol"], quick["n"], quick["attacks"][0]["name"]) == ("quick", 12, "pgd-20")
    shown = apx("evaluate", "py:mynet:make", *ON_DIGITS, "--steps", "3", "--set", "restarts=2").stdout
    assert "robust accuracy (PGD-3X2, Linf 0.15)" in shown


def test_sanity_prints_a_verdict_for_each_check(apx: Apx) -> None:
    shown = apx(
        "evaluate", "py:mynet:make", "--dataset", "digits", "--device", "cpu", "--n", "40", "--protocol", "sanity"
    )
    assert shown.exit_code == 0, shown.exception
    assert "check against gradient masking" in shown.stdout
    for name in ("unbounded", "steps", "restarts", "one-step", "black-box", "loss-surface"):
        assert name in shown.stdout


def test_distances_are_printed(apx: Apx) -> None:
    shown = apx("evaluate", "py:mynet:make", *ON_DIGITS, "--attack", "fmn", "--norm", "L2", "--eps", "0.5")
    assert "median distance (L2)" in shown.stdout, shown.exception
    assert "robust accuracy (FMN, L2 0.5)" in shown.stdout


def test_a_run_keeps_its_evaluations_and_a_transfer_names_its_source(apx: Apx) -> None:
    made = apx("run", "magnitude", "--arch", "cnn-small", "--width", "4", "--set", "pretrain.epochs=1", "--set",
               "finetune.epochs=1", "--eval", "none", "--out", "run", "--device", "cpu")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    kept = apx("evaluate", "run", "--n", "12", "--attack", "fgsm", "--json")
    assert json.loads(Path("run/evaluations/fgsm-linf-0.15-n12.json").read_text()) == document(kept)
    assert "wrote run/evaluations/fgsm-linf-0.15-n12.json" in kept.stderr.replace("\\", "/")
    assert apx("evaluate", "run", "--n", "12", "--attack", "clean", "--out", "clean.json").exit_code == 0
    assert len(list(Path("run/evaluations").iterdir())) == 1, "the other went where --out says"
    [(file, found)] = evaluations_of(open_run(Path("run"))).items()
    assert (file.name, found["attacks"][0]["name"]) == ("fgsm-linf-0.15-n12.json", "fgsm")
    transferred = document(apx("evaluate", "py:mynet:make", *ON_DIGITS, "--source", "run", "--json"))
    assert transferred["source"] == "run"
    assert "attacked in its place" in apx("evaluate", "run", "--n", "4", "--source", "run").stdout


def test_a_killed_evaluation_leaves_its_record_and_a_finished_one_none(
    apx: Apx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apx.evaluation import Journal

    asked = ("evaluate", "py:mynet:make", *ON_FORTY, "--attack", "fgsm", "--batch-size", "1", "--json")
    whole, append = document(apx(*asked)), Journal._append
    records = tmp_path / "home" / "evaluations"
    assert list(records.iterdir()) == []

    def dying(journal: Journal, entry: dict) -> None:
        append(journal, entry)
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "_append", dying)
    assert whole["clean_accuracy"]["value"] > 0  # there is something to attack
    assert apx(*asked).exit_code == 130
    assert len(list(records.iterdir())) == 1
    monkeypatch.setattr(Journal, "_append", append)
    assert document(apx(*asked))["samples"] == whole["samples"]
    assert list(records.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--attack", "pdg"), "did you mean 'pgd'"),
        (("--protocol", "standart"), "did you mean 'standard'"),
        (("--attack", "pgd", "--protocol", "plus"), "exclude each other"),
        (("--attack", "pgd", "--set", "restart=2"), "did you mean 'restarts'"),
        (("--protocol", "plus", "--steps", "3"), "has no parameters to set"),
        (("--attack", "square", "--norm", "L1"), "not made for norm L1"),
        (("--protocol", "benchmark2024", "--n", "5"), "2,176 test images"),
        (("--precision", "bf16", "--no-prepare"), "of the prepared network"),
        (("--out", "nowhere/r.json"), "there is no folder nowhere"),
        (("--seed", "-1"), "-1 is not in the range x>=0"),
        (("--batch-size", "0"), "0 is not in the range x>=1"),
    ],
)
def test_mistakes_end_in_one_line(apx: Apx, arguments: tuple[str, ...], said: str) -> None:
    result = apx("evaluate", "py:mynet:make", "--dataset", "digits", "--device", "cpu", *arguments)
    assert result.exit_code == 2, result.exception
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("py:mynet:make", "give --dataset"),
        ("py:mynet:words", "--dataset"),
        ("py:wide:make", "--dataset"),
        ("py:nowhere:make", "--dataset"),
    ],
)
def test_a_factory_needs_its_data(apx: Apx, target: str, said: str) -> None:
    assert said in apx("evaluate", target).stderr


@pytest.mark.parametrize("target", ["py:mynet:words", "py:wide:make", "py:nowhere:make", "py:mynet:nothing"])
def test_what_is_no_model_for_the_data_is_refused(apx: Apx, target: str) -> None:
    result = apx("evaluate", target, *ON_DIGITS)
    assert result.exit_code == 2, result.exception
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
