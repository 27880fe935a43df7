"""Drop and grow: worked numbers, exact counts, ties, layers with nothing to do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from apx.drop_and_grow import drop_lowest, grow_bernoulli, grow_gradient, grow_random

WEIGHT = torch.tensor([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8, 0.0, 0.0])
ACTIVE = torch.arange(10) < 8
GRADIENT = torch.tensor([0.9, -0.1, 0.2, -0.8, 5.0, 5.0, 5.0, 5.0, -0.85, 0.3])


def where(mask: Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


def test_the_smallest_magnitudes_are_dropped() -> None:
    assert where(drop_lowest(WEIGHT, ACTIVE, 4)) == [4, 5, 6, 7]
    assert where(drop_lowest(WEIGHT, ACTIVE, 6)) == [6, 7]
    assert torch.equal(drop_lowest(WEIGHT, ACTIVE, 0), ACTIVE)
    assert not drop_lowest(WEIGHT, ACTIVE, 99).any()


def test_what_the_mask_hides_does_not_take_part() -> None:
    hidden = WEIGHT.clone()
    hidden[8:] = 9.0
    assert where(drop_lowest(hidden, ACTIVE, 4)) == [4, 5, 6, 7]


def test_active_zeros_go_first() -> None:
    everything = torch.ones(10, dtype=torch.bool)
    assert where(drop_lowest(WEIGHT, everything, 2)) == list(range(8))


def test_ties_with_the_last_one_dropped_go_too() -> None:
    weight = torch.tensor([0.5, -0.5, 0.5, 1.0, 0.0])
    mask = torch.tensor([True, True, True, True, False])
    assert where(drop_lowest(weight, mask, 1)) == [3]


def test_the_largest_gradients_outside_the_mask_grow() -> None:
    kept = drop_lowest(WEIGHT, ACTIVE, 4)
    assert where(grow_gradient(kept, 4, GRADIENT)) == [0, 3, 4, 5, 6, 7, 8, 9]
    assert where(grow_gradient(drop_lowest(WEIGHT, ACTIVE, 6), 4, GRADIENT)) == [0, 4, 5, 6, 7, 8]


def test_zero_gradients_still_fill_the_count() -> None:
    kept = torch.tensor([True, False, False, False])
    grown = grow_gradient(kept, 2, torch.tensor([7.0, 0.0, 0.0, 0.0]))
    assert int(grown.sum()) == 3
    assert bool(grown[0])


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_random_growth_is_exact_and_keeps_what_there_is(size: int, data: st.DataObject) -> None:
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    count = data.draw(st.integers(0, int((~mask).sum())))
    grown = grow_random(mask, count, torch.rand(size, generator=torch.Generator().manual_seed(size)))
    assert int(grown.sum()) == int(mask.sum()) + count
    assert bool((grown | ~mask).all())


def test_independent_growth_meets_the_count_on_average() -> None:
    mask = torch.arange(1000) < 200
    generator = torch.Generator().manual_seed(0)
    grown = [grow_bernoulli(mask, 80, torch.rand(1000, generator=generator)) for _ in range(400)]
    counts = torch.tensor([float(m.sum() - mask.sum()) for m in grown])
    assert abs(float(counts.mean()) - 80) < 2  # standard error 0.42
    assert 7 < float(counts.std()) < 10  # binomial: 8.5
    assert all(bool(m[:200].all()) for m in grown)


def test_independent_growth_is_capped_at_all() -> None:
    mask = torch.tensor([True, False, False])
    assert bool(grow_bernoulli(mask, 5, torch.tensor([0.9, 0.99, 0.0])).all())


def test_a_dense_layer_has_nothing_to_grow() -> None:
    dense = torch.ones(4, dtype=torch.bool)
    assert torch.equal(grow_bernoulli(dense, 3.0, torch.zeros(4)), dense)
    assert torch.equal(grow_gradient(dense, 0, torch.ones(4)), dense)
    with pytest.raises(ValueError, match="cannot grow 1 of 0"):
        grow_random(dense, 1, torch.zeros(4))


def test_memory_layout_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    mask = torch.rand(4, 3, 3, 3, generator=generator) < 0.5
    last = [tensor.contiguous(memory_format=torch.channels_last) for tensor in (weight, mask)]
    kept = drop_lowest(weight, mask, 20)
    assert torch.equal(kept, drop_lowest(*last, 20))
    assert torch.equal(grow_gradient(kept, 9, weight), grow_gradient(kept, 9, last[0]))
