"""curve and analyze ice: results documents and networks in, numbers and figures out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apx_cli.lazy import LazyGroup

Commands = Callable[..., Result]
THREAT = {"norm": "Linf", "eps": 0.1}
ACCURACY = {"value": 0.5, "low": 0.4, "high": 0.6}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Call the two commands, in an empty working directory."""
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    group = LazyGroup("apx", commands_at="apx_cli.commands", summaries={"curve": "", "analyze": ""})
    return lambda *arguments: CliRunner().invoke(group, arguments, prog_name="apx")


def store(path: str, distances: list[Any], **changes: Any) -> str:
    """Write the results document of FMN; a sample at distance 0 is misclassified."""
    samples = [
        {
            "index": index,
            "label": 0,
            "prediction": int(distance == 0),
            "robust": distance is None or float(distance) > THREAT["eps"],
            "broken_by": "fmn" if distance and 0 < float(distance) <= THREAT["eps"] else None,
            "distance": distance,
        }
        for index, distance in enumerate(distances)
    ]
    document = {
        "schema_version": "1",
        "target": Path(path).stem,
        "method": None,
        "arch": None,
        "dataset": "digits",
        "split": "test",
        "threat": THREAT,
        "protocol": "apx",
        "attacks": [{"name": "fmn", "parameters": {}}],
        "n": len(samples),
        "clean_accuracy": ACCURACY,
        "robust_accuracy": ACCURACY,
        "seed": 0,
        "versions": {"apx-core": "0.1.0"},
        "device": "cpu",
        "selected_on": None,
        "warnings": [],
        "samples": samples,
    }
    Path(path).write_text(json.dumps({**document, **changes}))
    return path


def test_stored_results_become_one_figure_of_each_kind(call: Commands) -> None:
    targets = [store("dense.json", [0, 0.05, 0.2, "inf"]), store("pruned.json", [0, 0, 0.11, 0.2])]
    result = call("curve", *targets, "--out", "a.png", "--out", "a.svg", "--out", "a.html", "--names", "one, other")
    assert result.exit_code == 0, result.exception
    assert [line.split()[0] for line in result.stdout.splitlines()[2:4]] == ["one", "other"]
    assert "75.0%" in result.stdout
    assert "wrote a.html" in result.stdout
    assert all(Path(f"a.{suffix}").stat().st_size > 5000 for suffix in ("png", "svg", "html"))


def test_the_points_of_the_curves_are_printed_as_json(call: Commands) -> None:
    result = call("curve", store("dense.json", [0, 0.05, 0.2, "inf"]), "--json", "--max-eps", "0.2", "--eps", "0.05")
    (curve,) = json.loads(result.stdout)["curves"]
    assert (len(curve["eps"]), curve["eps"][-1], curve["robust"][0], curve["robust"][-1]) == (1000, 0.2, 0.75, 0.25)
    assert (curve["threat_eps"], curve["robust_accuracy"], curve["median_distance"]) == (0.05, 0.5, 0.125)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.json", "--out", "a.pdf"], ".png, .svg, .html"),
        (["a.json", "--out", "nowhere/a.png"], "no folder nowhere"),
        (["a.json", "--names", "one,two"], "2 labels for 1 models"),
        (["a.json", "cifar.json"], "different data"),
        (["a.json", "pgd.json"], "--attack fmn"),
        (["a.json", "broken.json"], "no results document"),
        (["a.json", "--norm", "L2"], "not L2"),
        (["nowhere.json"], "cannot read nowhere.json"),
        (["nowhere"], "no run directory or checkpoint nowhere"),
        ([], "Missing argument"),
    ],
)
def test_curve_s_mistakes_are_one_line(call: Commands, arguments: list[str], said: str) -> None:
    store("a.json", [0.1, 0.2])
    store("cifar.json", [0.1], dataset="cifar10")
    store("pgd.json", [None])
    Path("broken.json").write_text("{}")
    result = call("curve", *arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_two_stored_results_make_the_sets_and_the_figure(call: Commands) -> None:
    dense = store("dense.json", [0.3, 0.3, 0.11, 0.09, 0.01, 0])
    pruned = store("pruned.json", [0.3, 0.2, 0.05, 0.2, 0.01, 0])
    result = call("analyze", "ice", dense, pruned, "--out", "ice.png")
    assert result.exit_code == 0, result.exception
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.startswith("S")}
    assert rows["S11"].split()[-6:] == ["5", "(83.3%)", "2", "(33.3%)", "0.3", "0.3"]
    assert rows["S10"].split()[-4:] == ["1", "(16.7%)", "0.11", "0.11"]
    assert "dense: clean accuracy 83.3%, robust accuracy 50.0%" in result.stdout
    assert "S10+S01 against S11: smaller in 100.0% of the pairs" in result.stdout
    assert Path("ice.png").stat().st_size > 5000
    found = json.loads(call("analyze", "ice", dense, pruned, "--json").stdout)
    sets = found["adversarial"]["sets"]
    assert {name: one["indices"] for name, one in sets.items()} == {
        "S11": [0, 1],
        "S10": [2],
        "S01": [3],
        "S00": [4, 5],
    }


def test_distances_can_come_from_a_document_of_their_own(call: Commands) -> None:
    pgd = {"attacks": [{"name": "pgd-20", "parameters": {}}]}
    dense, pruned = (store(f"{name}.json", [None, None], **pgd) for name in ("dense", "pruned"))
    assert "--attack fmn" in call("analyze", "ice", dense, pruned).stderr
    distances = store("distances.json", [0.2, 0.4])
    result = call("analyze", "ice", dense, pruned, "--distances", distances, "--json")
    assert json.loads(result.stdout)["adversarial"]["sets"]["S11"]["distance"]["median"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dense.json", "fewer.json"], "same samples"),
        (["dense.json", "cifar.json"], "same data"),
        (["dense.json", "other.json"], "same --attack"),
        (["dense.json", "dense.json", "--out", "ice.html"], ".png, .svg"),
        (["dense.json", "dense.json", "--attack", "pgdd"], "did you mean 'pgd'"),
        (["dense.json", "dense.json", "--margin"], "--margin needs the dense network"),
        (["dense.json", "dense.json", "--transfer"], "--transfer needs both networks"),
        (["nowhere", "dense.json"], "nowhere"),
    ],
)
def test_ice_s_mistakes_are_one_line(call: Commands, arguments: list[str], said: str) -> None:
    store("dense.json", [0.3, 0.05, 0.2])
    store("fewer.json", [0.3, 0.05])
    store("cifar.json", [0.3, 0.05, 0.2], dataset="cifar10")
    store("other.json", [0.3, 0.05, 0.2], attacks=[{"name": "pgd-20", "parameters": {}}])
    result = call("analyze", "ice", *arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def checkpoint(path: str, seed: int) -> str:
    """Write an untrained network with what opens it again."""
    import torch

    from apx.architectures import build
    from apx.export import export_state

    torch.manual_seed(seed)
    net = build("cnn-small", num_classes=10, in_channels=3, image_size=16, width=4)
    export_state(Path(path), net, metadata={"arch": "cnn-small", "dataset": "digits", "width": "4"})
    return path


def test_networks_are_evaluated_first(call: Commands) -> None:
    dense, pruned = checkpoint("dense.safetensors", 0), checkpoint("pruned.safetensors", 1)
    small = ["--n", "30", "--device", "cpu"]
    drawn = call("curve", dense, pruned, *small, "--steps", "5", "--json")
    assert drawn.exit_code == 0, drawn.exception
    curves = json.loads(drawn.stdout)["curves"]
    assert [curve["n"] for curve in curves] == [30, 30]
    assert [curve["threat_eps"] for curve in curves] == [0.15, 0.15]
    result = call("analyze", "ice", dense, pruned, *small, "--steps", "3", "--fmn-steps", "5", "--margin", "--json")
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    assert found["dense"]["attacks"] == found["pruned"]["attacks"] == ["pgd-3"]
    assert found["clean"]["accuracy_dense"] == curves[0]["clean_accuracy"]
    assert found["pruned"]["source"] is None
    assert found["clean"]["sets"]["S11"]["margin"]["count"] == found["clean"]["sets"]["S11"]["count"]


def test_the_pruned_network_can_be_shown_the_dense_one_s_images(call: Commands) -> None:
    dense, pruned = checkpoint("dense.safetensors", 0), checkpoint("pruned.safetensors", 1)
    small = ["--n", "40", "--device", "cpu", "--steps", "5", "--fmn-steps", "3", "--json"]
    shown = json.loads(call("analyze", "ice", dense, pruned, *small, "--transfer").stdout)
    attacked = json.loads(call("analyze", "ice", dense, pruned, *small).stdout)
    assert (shown["pruned"]["source"], shown["dense"]["source"]) == (dense, None)
    assert shown["adversarial"]["accuracy_dense"] == attacked["adversarial"]["accuracy_dense"]
    assert shown["adversarial"]["accuracy_pruned"] >= attacked["adversarial"]["accuracy_pruned"]
    same = json.loads(call("analyze", "ice", dense, dense, *small, "--transfer").stdout)
    assert same["adversarial"]["sets"]["S10"]["count"] == same["adversarial"]["sets"]["S01"]["count"] == 0


def test_a_norm_of_its_own_needs_a_radius(call: Commands) -> None:
    result = call("curve", checkpoint("dense.safetensors", 0), "--norm", "l2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--norm L2 needs --eps" in result.stderr


def test_a_network_meets_what_the_other_one_s_document_has_met(call: Commands) -> None:
    dense, pruned = checkpoint("dense.safetensors", 0), checkpoint("pruned.safetensors", 1)
    asked = ["--attack", "fmn", "--steps", "3", "--device", "cpu"]
    first = json.loads(call("analyze", "ice", dense, pruned, *asked, "--n", "25", "--eps", "0.07", "--json").stdout)
    samples = [index for one in first["clean"]["sets"].values() for index in one["indices"]]
    stored = store("stored.json", [0.1] * 25, threat={"norm": "Linf", "eps": 0.07})
    document = json.loads(Path(stored).read_text())
    labels = digits_labels(sorted(samples))
    for sample, index, label in zip(document["samples"], sorted(samples), labels, strict=True):
        sample.update(index=index, label=label, prediction=label)
    Path(stored).write_text(json.dumps(document))
    mixed = json.loads(call("analyze", "ice", stored, pruned, *asked, "--json").stdout)
    assert (mixed["n"], mixed["threat"]) == (25, {"norm": "Linf", "eps": 0.07})
    assert mixed["adversarial"]["accuracy_pruned"] == first["adversarial"]["accuracy_pruned"]


def digits_labels(indices: list[int]) -> list[int]:
    from apx.datasets import load_dataset

    return load_dataset("digits").test.labels[indices].tolist()
