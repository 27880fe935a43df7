"""Structures: units, scores and masks of every granularity, on any shape."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.errors import UserError
from apx.masks import prunable_layers
from apx.specifics import ERK, Global, Iterative, OneShot, Uniform, Weights, structure_of

GRANULARITIES = ("weights", "filters", "channels", "kernels", "columns")
shapes = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3)),
)


@settings(deadline=None)
@given(st.sampled_from(GRANULARITIES), shapes, st.data())
def test_whole_units_go_and_their_count_is_exact(granularity: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    structure = structure_of(granularity)
    count = structure.count(shape)
    alive = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    mask = structure.expand(alive.view(structure.unit_shape(shape)), shape)
    assert mask.shape == shape
    assert int(mask.sum()) == int(alive.sum()) * math.prod(shape) // count
    kept = structure.reduce(mask.double()) > 0
    assert torch.equal(kept.reshape(-1), alive)


def test_a_units_score_is_the_sum_over_its_weights() -> None:
    weight = torch.arange(24.0).view(2, 3, 2, 2)
    assert structure_of("filters").reduce(weight).tolist() == [66.0, 210.0]
    assert structure_of("channels").reduce(weight).tolist() == [60.0, 92.0, 124.0]
    assert structure_of("kernels").reduce(weight)[0].tolist() == [6.0, 22.0, 38.0]
    assert structure_of("columns").reduce(weight)[0].tolist() == [[12.0, 14.0], [16.0, 18.0]]


def test_a_column_is_one_position_of_one_input_channel_in_all_filters() -> None:
    columns = structure_of("columns")
    assert columns.unit_shape((5, 3, 2, 4)) == (3, 2, 4)
    assert columns.count((5, 3, 2, 4)) == 24
    alive = torch.zeros(3, 2, 4, dtype=torch.bool)
    alive[1, 0, 2] = True
    mask = columns.expand(alive, (5, 3, 2, 4))
    assert bool(mask[:, 1, 0, 2].all())
    assert int(mask.sum()) == 5
    as_matrix = torch.randn(5, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(columns.reduce(as_matrix).flatten(), as_matrix.reshape(5, 24).sum(dim=0))


def test_columns_of_a_linear_layer_are_its_inputs() -> None:
    columns, channels = structure_of("columns"), structure_of("channels")
    weight = torch.arange(6.0).view(2, 3)
    assert torch.equal(columns.reduce(weight), channels.reduce(weight))
    alive = torch.tensor([True, False, True])
    assert torch.equal(columns.expand(alive, (2, 3)), channels.expand(alive, (2, 3)))


@settings(deadline=None)
@given(st.lists(shapes, min_size=1, max_size=4), st.floats(0, 0.99), st.sampled_from(GRANULARITIES))
def test_rates_keep_at_least_one_unit_and_never_more_than_there_are(
    many: list[tuple[int, ...]], sparsity: float, granularity: str
) -> None:
    structure, named = structure_of(granularity), {str(i): shape for i, shape in enumerate(many)}
    for strategy in (Uniform(), ERK()):
        kept = strategy.kept(named, sparsity, structure)
        assert all(1 <= kept[name] <= structure.count(shape) for name, shape in named.items())


def test_schedules_end_at_the_request() -> None:
    assert OneShot().targets(0.9) == [0.9]
    targets = Iterative(rounds=3).targets(0.875)
    assert targets == pytest.approx([0.5, 0.75, 0.875])
    assert targets[-1] == 0.875


def test_unknown_granularities_and_layers_are_named() -> None:
    with pytest.raises(UserError, match="weights, filters, channels, kernels, columns"):
        structure_of("blocks")
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(2, 2, 1), torch.nn.Linear(2, 2))
    assert list(prunable_layers(network, ("stem",))) == ["1", "2"]
    assert list(prunable_layers(network, ("classifier",))) == ["0", "1"]
    assert list(prunable_layers(network, ("pointwise",))) == ["0", "2"]
    with pytest.raises(UserError, match="'tail'"):
        prunable_layers(network, ("tail",))


def test_a_global_ranking_rounds_its_count_or_rounds_it_down() -> None:
    scores = {"a": torch.arange(7.0), "b": torch.arange(7.0, 11.0)}  # 11 units, 0.6 of them are 6.6
    shapes = {"a": (7,), "b": (4,)}
    for locality, kept in ((Global(), 4), (Global(round_down=True), 5)):
        masks = locality.select(scores, shapes, 0.6, Weights())
        assert sum(int(mask.sum()) for mask in masks.values()) == kept
