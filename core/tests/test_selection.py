"""Exact counts, the stated tie rule, and agreement with sorting."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apx import selection
from apx.selection import keep_highest, keep_highest_global, order_statistic, pruned_count

# few distinct values, so that ties are the rule
scores_lists = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), min_size=1, max_size=40)


def by_sorting(scores: list[float], kept: int) -> list[bool]:
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))  # stable: earlier entries are pruned first
    dropped = set(order[: len(scores) - kept])
    return [i not in dropped for i in range(len(scores))]


@settings(deadline=None)
@given(scores_lists, st.data())
def test_partial_selection_equals_a_stable_sort(scores: list[float], data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(scores)))
    assert keep_highest(torch.tensor(scores), kept).tolist() == by_sorting(scores, kept)


@settings(deadline=None)
@given(scores_lists, st.data())
def test_the_masks_of_a_gpu_are_the_same(scores: list[float], data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(scores)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "SORTED_ON", {device})
        assert keep_highest(torch.tensor(scores, device=device), kept).tolist() == by_sorting(scores, kept)


@settings(deadline=None)
@given(st.lists(scores_lists, min_size=1, max_size=4), st.integers(0, 2), st.data())
def test_global_selection_is_exact_and_protects_layers(
    layers: list[list[float]], at_least: int, data: st.DataObject
) -> None:
    total = sum(map(len, layers))
    protected = sum(min(at_least, len(layer)) for layer in layers)
    kept = data.draw(st.integers(protected, total))
    masks = keep_highest_global({str(i): torch.tensor(s) for i, s in enumerate(layers)}, kept, at_least=at_least)
    assert sum(int(mask.sum()) for mask in masks.values()) == kept
    assert all(int(mask.sum()) >= min(at_least, mask.numel()) for mask in masks.values())
    if at_least == 0:
        flat = [value for layer in layers for value in layer]
        assert torch.cat(list(masks.values())).tolist() == by_sorting(flat, kept)


def test_counts_are_safe_against_float_noise() -> None:
    assert pruned_count(1 - 0.9, 10) == 1
    # HYDRA's counts of kept weights at 90, 95, 99 %
    assert [1728 - pruned_count(s, 1728) for s in (0.90, 0.95, 0.99)] == [173, 87, 18]
    assert [5120 - pruned_count(s, 5120) for s in (0.90, 0.95, 0.99)] == [512, 256, 52]


@pytest.mark.parametrize("sorted_on", [{"cuda"}, {"cpu"}])
def test_nan_scores_and_impossible_counts_are_refused(sorted_on: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "SORTED_ON", sorted_on)
    with pytest.raises(ValueError, match="NaN"):
        keep_highest(torch.tensor([1.0, float("nan")]), 1)
    with pytest.raises(ValueError, match="cannot keep 3 of 2"):
        keep_highest(torch.ones(2), 3)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(["normal", "ties", "sorted", "waves"]), st.floats(0, 1), st.booleans())
def test_many_scores_are_sampled_and_exact_all_the_same(seed: int, kind: str, share: float, double: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(5000, generator=generator, dtype=torch.float64 if double else torch.float32)
    if kind == "ties":
        scores = (scores * 2).round().abs()
    elif kind == "sorted":
        scores = scores.sort(descending=bool(seed % 2)).values
    elif kind == "waves":
        scores = torch.sin(torch.arange(5000.0) * (seed % 97))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "SAMPLED_FROM", 1000)
        patch.setattr(selection, "SAMPLE", 100)
        rank = 1 + round(share * 4999)
        assert order_statistic(scores, rank) == scores.sort().values[rank - 1]
        kept = round(share * 5000)
        assert keep_highest(scores, kept).tolist() == by_sorting(scores.tolist(), kept)
