"""Contributing: rules are judged one by one, a bundle is whole, and merging catches what was tampered with."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import apx
from apx.datasets import Dataset, Split
from apx.errors import UserError
from apx.evaluation.interval import wilson
from apx.leaderboards import leaderboard
from apx.runs import evaluation_file
from apx.submission import check, make_bundle, merge, open_candidates, problems, verify
from apx.submission.candidate import AUTOATTACK
from apx.target import open_target

QUICK = {"pretrain.epochs": 4, "finetune.epochs": 1, "pretrain.objective": "nat", "finetune.objective": "nat"}
AUTO = [{"name": name, "parameters": {}} for name in AUTOATTACK]


def accuracy(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson(hits, n)
    return {"value": hits / n, "low": low, "high": high, "interval": "wilson"}


def evaluated(run: Path, **changes: Any) -> None:
    """Attack a run by PGD and record it as AutoAttack, which would take its time and find what PGD finds."""
    opened = open_target(run)
    attack = changes.pop("attack", "pgd")
    facts = {key: opened.facts[key] for key in ("target", "method", "arch", "dataset", "selected_on", "sparsity")}
    document = {**apx.evaluate(opened.module, opened.data.test, attack=attack, eps=0.15), **facts, **changes}
    file = evaluation_file(run, document)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Prune a tiny network to three sparsities; the first run has distances too."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APX_HOME", str(folder / "home"))
        for sparsity in (0.5, 0.6, 0.7):
            made.append(folder / f"{sparsity}")
            apx.run(
                "magnitude", arch="cnn-small", width=8, sparsity=sparsity, device="cpu", out=made[-1],
                evaluation="none", settings=QUICK,
            )  # fmt: skip
            evaluated(made[-1], protocol="standard", attacks=AUTO)
    evaluated(made[0], attack="fmn")
    return made


@pytest.fixture(scope="module")
def bundled(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    make_bundle(open_candidates(runs, "lab"), folder)
    return folder


@pytest.fixture
def bundle(bundled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundled, tmp_path / "bundle")


def resum(bundle: Path) -> None:
    """Write the sums anew, as somebody would who tampers with more than one file."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(bundle).as_posix()}\n" for path in files
    ]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_runs_that_keep_the_rules_pass_and_what_is_missing_is_advised(runs: list[Path]) -> None:
    verdicts = check(open_candidates(runs, "lab"))
    assert problems(verdicts) == []
    assert [one.rule for one in verdicts if one.state == "advice"].count("distances") == 2
    assert {one.text for one in verdicts if one.rule == "three sparsities"} == {
        "cnn-small, digits, US has 50, 60, 70 %"
    }
    assert sum("loads strictly into cnn-small of width 8" in one.text for one in verdicts) == 3


def test_each_broken_rule_is_named(runs: list[Path], tmp_path: Path) -> None:
    copies = [shutil.copytree(run, tmp_path / run.name) for run in runs]
    [first] = (copies[0] / "evaluations").glob("standard*")
    partial = {"name": "partial", "text": "fewer"}
    edit(first, lambda one: one.update(warnings=[partial], selected_on="test", threat={"norm": "Linf", "eps": 0.1}))
    [second] = (copies[1] / "evaluations").glob("standard*")
    second.unlink()
    state = load_file(copies[2] / "model.safetensors")
    save_file({name: torch.zeros_like(one) for name, one in state.items()}, copies[2] / "model.safetensors")
    broken = {one.rule: one.text for one in problems(check(open_candidates(copies[:3], "lab")))}
    assert broken.keys() == {"one threat", "evaluation", "selection", "sparsity"}
    assert "was selected on the test split" in broken["selection"]
    two = {one.rule: one.text for one in problems(check(open_candidates([runs[0], runs[0]], "lab")))}
    assert "two runs of one sparsity" in two["three sparsities"] or "there must be three" in two["three sparsities"]
    official = {one.rule for one in problems(check(open_candidates(runs, "benchmark")))}
    assert official == {"entry", "three sparsities", "evaluation", "network"}
    with pytest.raises(UserError, match="cannot be submitted"):
        make_bundle(open_candidates(copies, "lab"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_is_whole_and_says_everything(bundled: Path, runs: list[Path]) -> None:
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=bundled, check=True)
    manifest = json.loads((bundled / "submission.json").read_text())
    issue = (bundled / "ISSUE.md").read_text()
    for model, run in zip(manifest["models"], runs, strict=True):
        opened = open_target(bundled / model["weights"])
        assert all(torch.equal(a, b) for a, b in zip(
            opened.module.state_dict().values(), open_target(run).module.state_dict().values(), strict=True
        ))  # fmt: skip
        assert (bundled / f"{model['weights']}.md").read_text().startswith("---\n")
        for number in (model["clean_accuracy"]["value"], model["robust_accuracy"]["value"]):
            assert f"{100 * number:.2f} % (95 % interval" in issue
        assert model["name"] in issue
    assert [model["distances"] is not None for model in manifest["models"]] == [True, False, False]
    distances = json.loads((bundled / manifest["models"][0]["distances"]).read_text())
    assert len(distances["distances"]) == len(distances["indices"]) == 360
    assert issue.startswith("# Result: Magnitude pruning (cnn-small on digits, US)\n")
    assert "takes images in [0, 1] as they are." in issue
    assert sorted(path.name for path in bundled.parent.iterdir()) == ["bundle"]


def test_a_verified_bundle_becomes_rows_of_a_leaderboard(bundle: Path, tmp_path: Path) -> None:
    manifest, models = verify(bundle, n=50)
    assert [(one.again, one.predictions) for one in models] == [(50, 0)] * 3
    assert max(one.broken for one in models) <= 1  # PGD from other starts than the recorded one
    board = tmp_path / "board.json"
    assert merge(manifest, models, board) == 3
    rows = leaderboard(source="local", runs=[], files=[board])
    assert [(row.method, row.sparsity, row.n, row.attack) for row in rows] == [
        ("magnitude", sparsity, 360, "AutoAttack") for sparsity in (50.0, 60.0, 70.0)
    ]
    recorded = models[0].document["robust_accuracy"]
    assert rows[0].robust is not None
    assert rows[0].robust.value == pytest.approx(100 * recorded["value"], abs=1e-3)
    assert rows[0].robust.low == pytest.approx(100 * recorded["low"], abs=1e-3)
    before = board.read_bytes()
    with pytest.raises(UserError, match="has magnitude on cnn-small at 50 % already"):
        merge(manifest, models, board)
    assert board.read_bytes() == before
    merge(manifest, models, board, replace=True)
    assert len(leaderboard(source="local", runs=[], files=[board])) == 3
    board.write_text("{}")
    with pytest.raises(UserError, match="is no leaderboard"):
        merge(manifest, models, board)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_changed_or_added_file_is_noticed(bundle: Path) -> None:
    weights = next((bundle / "models").glob("*.safetensors"))
    flip(weights)
    with pytest.raises(UserError, match="it was changed"):
        verify(bundle)
    flip(weights)
    (bundle / "models" / "extra.pt").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds models/extra.pt, which SHA256SUMS does not name"):
        verify(bundle)
    (bundle / "models" / "extra.pt").unlink()
    weights.unlink()
    with pytest.raises(UserError, match="which is no file of"):
        verify(bundle)


def first_results(bundle: Path) -> Path:
    return bundle / json.loads((bundle / "submission.json").read_text())["models"][0]["results"]


def test_numbers_that_their_samples_do_not_give_are_refused(bundle: Path) -> None:
    better = {"value": 0.99, "low": 0.9, "high": 1.0, "interval": "wilson"}
    edit(first_results(bundle), lambda one: one.update(robust_accuracy=better))
    edit(bundle / "submission.json", lambda one: one["models"][0].update(robust_accuracy=better))
    resum(bundle)
    with pytest.raises(UserError, match=r"its robust accuracy is 99.0000%, its samples give"):
        verify(bundle)


def test_samples_recorded_as_robust_that_are_not_are_broken_again(bundle: Path) -> None:
    def invent(document: dict[str, Any]) -> None:
        for sample in document["samples"]:
            if sample["prediction"] == sample["label"]:
                sample.update(robust=True, broken_by=None)
        document["robust_accuracy"] = document["clean_accuracy"]

    edit(first_results(bundle), invent)
    manifest = bundle / "submission.json"
    edit(manifest, lambda one: one["models"][0].update(robust_accuracy=one["models"][0]["clean_accuracy"]))
    resum(bundle)
    with pytest.raises(UserError, match="are recorded as robust, and pgd breaks them"):
        verify(bundle)


def test_other_weights_and_sparsities_that_are_not_there_are_noticed(bundle: Path) -> None:
    manifest = bundle / "submission.json"
    models = json.loads(manifest.read_text())["models"]
    edit(manifest, lambda one: one["models"][0].update(reported=0.9))
    resum(bundle)
    with pytest.raises(UserError, match=r"has 50\.\d+% zeros, the bundle says 90.0000%"):
        verify(bundle)
    edit(manifest, lambda one: one["models"][0].update(reported=models[0]["reported"]))
    weights = bundle / models[0]["weights"]
    state = load_file(weights)
    shuffled = {name: one.flip(0).contiguous() for name, one in state.items()}
    save_file(shuffled, weights)
    resum(bundle)
    with pytest.raises(UserError, match="are predicted otherwise: these are not its weights"):
        verify(bundle)


def test_paths_out_of_the_bundle_and_pickles_are_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    with (bundle / "SHA256SUMS").open("a") as file:
        file.write(f"{hashlib.sha256(b'x').hexdigest()}  ../outside\n")
    with pytest.raises(UserError, match=r"names ../outside, which is no file of"):
        verify(bundle)
    resum(bundle)
    edit(bundle / "submission.json", lambda one: one["models"][0].update(weights="models/net.pt"))
    resum(bundle)
    with pytest.raises(UserError, match="is not valid"):
        verify(bundle)
    with pytest.raises(UserError, match="is no bundle"):
        verify(tmp_path)


def test_the_benchmarks_rules_and_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole ResNet18 at 90, 95 and 99 %, as the board lists it; its results are made up."""
    part = Split(torch.zeros(64, 3, 32, 32, dtype=torch.uint8), torch.arange(64) % 10)
    data = Dataset("cifar10", part, part, part, num_classes=10, threat_eps=8 / 255)
    monkeypatch.setattr("apx.datasets.load_dataset", lambda *_: data)
    made = [benchmark_run(tmp_path / f"{percent}", percent) for percent in (90, 95, 99)]
    verdicts = check(open_candidates(made))
    assert problems(verdicts) == []
    assert any(one.rule == "suite" and "3 of the 12" in one.text for one in verdicts)
    make_bundle(open_candidates(made), tmp_path / "bundle")
    key = "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_95"
    loaded = apx.load_model(key, zoo=str(tmp_path / "bundle" / "models"))
    assert apx.reported_sparsity(loaded) == pytest.approx(0.95, abs=1e-3)
    edit(made[1] / "run.json", lambda one: one["request"].update(width=16))
    assert "network" in {one.rule for one in problems(check(open_candidates(made)))}


def benchmark_run(folder: Path, percent: int) -> Path:
    network = apx.build("resnet18", num_classes=10)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                kept = round(parameter.numel() * (1 - percent / 100))
                parameter.flatten()[kept:] = 0
    (folder / "evaluations").mkdir(parents=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    n = 10_000
    samples = [
        {"index": i, "label": 0, "prediction": 0, "robust": i < 4000, "broken_by": None, "distance": None}
        for i in range(n)
    ]
    sparsity = {"reported": apx.reported_sparsity(network), "requested": percent / 100, "unit": "weights"}
    document = {
        "schema_version": "1", "target": "x", "method": "hydra", "arch": "resnet18", "dataset": "cifar10",
        "split": "test", "threat": {"norm": "Linf", "eps": 8 / 255}, "protocol": "standard", "attacks": AUTO, "n": n,
        "clean_accuracy": accuracy(n, n), "robust_accuracy": accuracy(4000, n), "seed": 0, "versions": {"torch": "2"},
        "device": "cpu", "selected_on": "none", "warnings": [], "samples": samples, "created": "2026",
        "sparsity": sparsity,
    }  # fmt: skip
    record = {
        "apx_run": 1,
        "request": {"method": "hydra", "arch": "resnet18", "dataset": "cifar10", "width": None},
        "method": "hydra",
        "variant": {"structure": "US", "granularity": "weights"},
        "settings": {"sparsity": percent / 100},
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "versions": {"torch": "2"},
        "created": "2026",
    }
    report = {
        "apx_report": 1, "run": str(folder), "record": record, "selected_on": "none", "dense_origin": "",
        "sparsity": {**sparsity, "own": percent / 100}, "results": {}, "seconds": {"total": 1.0, "phases": {}},
        "deviations": [], "paper_command": "apx run hydra",
    }  # fmt: skip
    (folder / "evaluations" / "standard.json").write_text(json.dumps(document))
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "report.json").write_text(json.dumps(report))
    return folder
