"""Rates that differ by layer: worked numbers, totals, bounds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apx import build
from apx.masks import weight_names
from apx.specifics import ERK, IGQ, Weights, structure_of
from apx.specifics.rates import igq_sparsities


@pytest.mark.parametrize(
    ("counts", "sparsity", "expected"),
    [
        ([10, 100], 0.5, [0.10644, 0.54362]),
        ([10, 100, 1000], 0.9, [0.12960, 0.59822, 0.93706]),
        ([64, 64], 0.75, [0.75, 0.75]),
        ([10, 100], 0.0, [0.0, 0.0]),
    ],
)
def test_igq_shares(counts: list[int], sparsity: float, expected: list[float]) -> None:
    assert igq_sparsities(counts, sparsity) == pytest.approx(expected, abs=6e-3 if counts == [64, 64] else 1e-5)


@pytest.mark.parametrize(("sparsity", "kept"), [(0.9, 1_116_448), (0.95, 558_227), (0.99, 111_650)])
def test_igq_counts_of_a_preactivation_resnet18(sparsity: float, kept: int) -> None:
    with torch.device("meta"):
        network = build("preact_resnet18", num_classes=10)
    shapes = {name: tuple(network.get_parameter(name).shape) for name in weight_names(network)}
    counts = IGQ().kept(shapes, sparsity, Weights())
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 11_164_352
    assert sum(counts.values()) == kept


def test_igq_leaves_small_layers_almost_dense() -> None:
    shapes = {"stem": (64, 3, 3, 3), "large": (512, 512, 3, 3), "classifier": (10, 512)}
    kept = IGQ().kept(shapes, 0.9, Weights())
    assert kept["stem"] > 0.98 * 1728
    assert kept["classifier"] > 0.95 * 5120
    assert kept["large"] < 0.1 * 512 * 512 * 9


def test_erk_shares() -> None:
    kept = ERK().kept({"a": (4, 4), "b": (8, 8)}, 0.5, Weights())
    assert kept == {"a": round(0.83333 * 16), "b": round(0.41667 * 64)}


shapes = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(1, 3)),
)


@settings(deadline=None)
@given(
    st.lists(shapes, min_size=1, max_size=5), st.floats(0, 0.99), st.sampled_from(["weights", "filters", "channels"])
)
def test_igq_meets_the_total(many: list[tuple[int, ...]], sparsity: float, granularity: str) -> None:
    structure, named = structure_of(granularity), {str(i): shape for i, shape in enumerate(many)}
    kept = IGQ().kept(named, sparsity, structure)
    counts = {name: structure.count(shape) for name, shape in named.items()}
    assert all(1 <= kept[name] <= counts[name] for name in named)
    assert -1 <= sum(kept.values()) - (1 - sparsity) * sum(counts.values()) <= len(many) + 1
    ordered = sorted(named, key=lambda name: counts[name])
    shares = [kept[name] / counts[name] for name in ordered]
    assert all(small >= large - 1 / counts[a] for a, small, large in zip(ordered, shares, shares[1:], strict=False))
