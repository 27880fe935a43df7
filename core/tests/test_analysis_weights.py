"""Kept and removed weights beside what magnitude pruning would have kept."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from apx.analysis import compare_weights, open_pruned
from apx.errors import UserError
from apx.runner.request import Request
from apx.runner.start import start
from apx.target import Made

DENSE = {"a.weight": torch.tensor([[0.1, -0.4, 0.3, 0.2]]), "b.weight": torch.tensor([[1.0, 2.0]])}
# magnitude keeps -0.4 and 0.3 of the first; these masks keep -0.4 and 0.1, and all of the second
MASKS = {"a.weight": torch.tensor([[True, True, False, False]]), "b.weight": torch.tensor([[True, True]])}

TINY = {f"{phase}.{key}": v for phase in ("pretrain", "finetune") for key, v in {"epochs": 1, "steps": 1}.items()}
MADE = Made(arch="cnn-small", dataset="digits", width=2)


def test_overlap_with_magnitude_by_hand() -> None:
    first, second = compare_weights(DENSE, MASKS).layers
    assert (first.layer, first.weights, first.kept, first.sparsity) == ("a.weight", 4, 2, 0.5)
    assert first.by_magnitude == 0.5
    assert first.jaccard == pytest.approx(1 / 3)
    assert first.by_chance == 0.5
    assert first.kept_magnitudes is not None
    assert first.kept_magnitudes[0] == pytest.approx(0.1)
    assert first.kept_magnitudes[-1] == pytest.approx(0.4)
    assert first.removed_magnitudes is not None
    assert first.removed_magnitudes[3] == pytest.approx(0.25)
    assert (second.by_magnitude, second.jaccard, second.removed_magnitudes) == (1.0, 1.0, None)


def test_totals_count_pruned_layers_alone() -> None:
    total = compare_weights(DENSE, MASKS).total()
    assert (total["weights"], total["kept"], total["by_magnitude"]) == (4, 2, 0.5)
    untouched = {"b.weight": MASKS["b.weight"]}
    assert compare_weights(DENSE, untouched).total()["by_magnitude"] is None


def test_the_histogram_holds_every_weight_once() -> None:
    torch.manual_seed(0)
    dense, mask = {"w": torch.randn(50, 40)}, {"w": torch.rand(50, 40) < 0.3}
    (layer,) = compare_weights(dense, mask).layers
    histogram = layer.histogram
    assert (len(histogram["edges"]), len(histogram["kept"])) == (33, 32)
    assert (sum(histogram["kept"]), sum(histogram["removed"])) == (layer.kept, layer.weights - layer.kept)
    assert histogram["edges"][-1] == pytest.approx(float(dense["w"].abs().max()))


def test_a_random_choice_overlaps_as_chance_says_and_magnitude_wholly() -> None:
    torch.manual_seed(0)
    weight = torch.randn(200, 200)
    random, own = torch.rand(200, 200) < 0.2, weight.abs() >= weight.abs().flatten().quantile(0.8)
    by_random, by_own = (compare_weights({"w": weight}, {"w": mask}).layers[0] for mask in (random, own))
    assert by_random.by_magnitude == pytest.approx(by_random.by_chance, abs=0.02)
    assert (by_own.by_magnitude, by_own.jaccard) == (1.0, 1.0)


def test_filters_are_compared_by_filters() -> None:
    weight = torch.tensor([[3.0, 0.0], [1.0, 1.5], [2.0, 0.0]]).view(3, 2, 1, 1)  # sums 3, 2.5, 2
    mask = torch.tensor([[True, True], [False, False], [True, True]]).view(3, 2, 1, 1)
    (by_filter,) = compare_weights({"w": weight}, {"w": mask}, granularity="filters").layers
    assert (by_filter.granularity, by_filter.by_magnitude) == ("filters", 0.5)
    (by_weight,) = compare_weights({"w": weight}, {"w": mask}).layers
    assert (by_weight.granularity, by_weight.by_magnitude) == ("weights", 0.5)


def test_a_layer_that_keeps_filters_in_part_is_compared_by_weights() -> None:
    (layer,) = compare_weights(DENSE, {"a.weight": MASKS["a.weight"]}, granularity="filters").layers
    assert (layer.granularity, layer.by_magnitude) == ("weights", 0.5)


def test_a_layer_without_kept_weights_has_no_shares() -> None:
    comparison = compare_weights(DENSE, {"a.weight": torch.zeros(1, 4, dtype=torch.bool)})
    (layer,) = comparison.layers
    assert (layer.by_magnitude, layer.jaccard, layer.kept_magnitudes, layer.sparsity) == (None, None, None, 1.0)
    assert comparison.total()["by_magnitude"] is None
    json.dumps(comparison.document(), allow_nan=False)


@pytest.mark.parametrize(
    ("masks", "granularity", "message"),
    [
        ({}, "weights", "no masks"),
        ({"c.weight": MASKS["b.weight"]}, "weights", "c.weight .* no such tensor"),
        ({"a.weight": MASKS["b.weight"]}, "weights", r"a.weight .* shape \[1, 4\]"),
        (MASKS, "layers", "unknown granularity 'layers'"),
    ],
)
def test_what_does_not_fit_is_refused(masks: dict, granularity: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare_weights(DENSE, masks, granularity=granularity)


# -- from files --------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    return tmp_path


def run(home: Path, method: str, *, evaluation: str = "none", **settings: object) -> Path:
    request = Request(
        method=method, arch="cnn-small", width=2, set=settings or TINY, eval=evaluation, sparsity=0.8, device="cpu"
    )
    start(request, out=home / method)
    return home / method


def test_a_run_tells_its_dense_network_and_its_masks(home: Path) -> None:
    path = run(home, "magnitude")
    found = open_pruned(path)
    comparison = compare_weights(found.dense, found.masks, granularity=found.granularity)
    assert comparison.total()["by_magnitude"] == 1.0
    assert comparison.total()["sparsity"] == pytest.approx(0.8, abs=0.01)
    by_file = open_pruned(path / "model.safetensors")
    assert all(torch.equal(by_file.masks[name], mask) for name, mask in found.masks.items())


def test_random_pruning_keeps_what_magnitude_keeps_by_chance_only(home: Path) -> None:
    found = open_pruned(run(home, "random"))
    total = compare_weights(found.dense, found.masks).total()
    assert total["by_magnitude"] == pytest.approx(total["by_chance"], abs=0.06)


def test_a_checkpoint_is_compared_by_its_zeros_with_a_given_dense_network(home: Path) -> None:
    path = run(home, "magnitude")
    dense = open_pruned(path).dense
    save_file({name: tensor.contiguous() for name, tensor in dense.items()}, home / "dense.safetensors")
    save_file(load_file(path / "model.safetensors"), home / "pruned.safetensors")
    found = open_pruned(home / "pruned.safetensors", home / "dense.safetensors", MADE)
    assert all(torch.equal(mask, open_pruned(path).masks[name]) for name, mask in found.masks.items())
    assert compare_weights(found.dense, found.masks).total()["by_magnitude"] == 1.0
    with pytest.raises(UserError, match="give a dense network with --dense"):
        open_pruned(home / "pruned.safetensors", None, MADE)


def test_a_method_that_prunes_before_training_needs_a_dense_network(home: Path) -> None:
    """Its run may hold a dense network that was trained for comparison, which it was not pruned from."""
    path = run(home, "magnitude-before", evaluation="quick", **{"train.epochs": 1, "train.steps": 1})
    assert (path / "checkpoints" / "pretrain.safetensors").is_file()
    with pytest.raises(UserError, match=r"magnitude-before prunes before training, .* with --dense"):
        open_pruned(path)
    given = open_pruned(path, run(home, "magnitude"))
    assert given.dense_origin.endswith("magnitude")


def test_a_lost_checkpoint_is_told(home: Path) -> None:
    path = run(home, "magnitude")
    (path / "checkpoints" / "pretrain.safetensors").unlink()
    with pytest.raises(UserError, match="lost its checkpoint"):
        open_pruned(path)
