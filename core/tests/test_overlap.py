"""Samples on thin ice: the sets, their identities, and what is refused."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from apx.analysis.logit_margin import logit_margins
from apx.analysis.overlap import SETS, Outcomes, Overlap, compare, outcomes_of, overlap, summary
from apx.errors import UserError

RIGHT = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def outcomes(robust: list[bool], correct: list[bool] | None = None, **changes: Any) -> Outcomes:
    n = len(robust)
    right = np.array(robust if correct is None else correct)
    values: dict[str, Any] = {
        "name": "dense",
        "data": "digits, test split",
        "attacks": ("pgd-20",),
        "norm": "Linf",
        "eps": 0.1,
        "indices": np.arange(n),
        "labels": np.zeros(n, dtype=int),
        "predictions": np.where(right, 0, 1),
        "robust": np.array(robust),
        "distances": np.full(n, 0.2),
    }
    return Outcomes(**{**values, **changes})


def sizes(dense: list[int], pruned: list[int]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in overlap(dense, pruned).items()}


def test_the_sets_are_those_of_the_definition() -> None:
    assert sizes([1, 1, 0, 0, 1], [1, 0, 1, 0, 1]) == {"S11": 2, "S10": 1, "S01": 1, "S00": 1}


def test_a_model_against_itself_loses_and_wins_nothing() -> None:
    assert sizes([1, 0, 0, 1], [1, 0, 0, 1]) == {"S11": 2, "S10": 0, "S01": 0, "S00": 2}


@settings(deadline=None)  # the first example imports scipy
@given(RIGHT)
def test_the_sets_add_up_to_the_samples_and_to_both_accuracies(pairs: list[tuple[bool, bool]]) -> None:
    dense, pruned = ([pair[which] for pair in pairs] for which in (0, 1))
    found = compare(outcomes(dense), outcomes(pruned)).adversarial
    n = len(pairs)
    assert sorted(index for name in SETS for index in found.sets[name]) == list(range(n))
    assert found.accuracy_dense == pytest.approx((found.count("S11") + found.count("S10")) / n)
    assert found.accuracy_pruned == pytest.approx((found.count("S11") + found.count("S01")) / n)


def test_clean_and_attacked_outcomes_make_sets_of_their_own() -> None:
    dense = outcomes([True, False, False], [True, True, False])
    pruned = outcomes([False, False, False], [True, True, True])
    found = compare(dense, pruned)
    assert {name: found.clean.count(name) for name in SETS} == {"S11": 2, "S10": 0, "S01": 1, "S00": 0}
    assert {name: found.adversarial.count(name) for name in SETS} == {"S11": 0, "S10": 1, "S01": 0, "S00": 2}


def thin_ice(shift: float = 0.0) -> Overlap:
    """A dense model with eps 0.1: the twenty samples nearest to eps change sides, unless `shift` moves them away."""
    distance = np.concatenate([np.linspace(0.01, 0.08, 20), np.linspace(0.091, 0.109, 20), np.linspace(0.12, 0.3, 20)])
    distance[20:40] += shift * np.sign(distance[20:40] - 0.1)
    dense = distance > 0.1
    pruned = np.where((np.arange(60) >= 20) & (np.arange(60) < 40), ~dense, dense)
    correct = [True] * 60
    return compare(
        outcomes(dense.tolist(), correct, distances=distance), outcomes(pruned.tolist(), correct, name="pruned")
    )


def test_samples_near_the_boundary_are_found_to_be_the_near_ones() -> None:
    by_name = {(c.measure, c.first, c.second): c for c in thin_ice().adversarial.comparisons}
    assert len(by_name) == 3
    for comparison in by_name.values():
        assert comparison.below == 1.0
        assert comparison.p_value is not None
        assert comparison.p_value < 1e-4


def test_the_gap_tells_what_the_distance_alone_cannot() -> None:
    """Samples far on either side of eps are on no thin ice, although S01 is nearer than S11 by construction."""
    comparisons = {c.measure: c for c in thin_ice(shift=0.09).adversarial.comparisons if c.first == "S10+S01"}
    assert comparisons["distance"].below is not None
    assert comparisons["gap"].below is not None
    assert comparisons["distance"].below > 0.5
    assert comparisons["gap"].below < 0.5


def test_the_share_of_smaller_pairs_and_the_p_value_are_those_of_all_pairs() -> None:
    from itertools import product

    from scipy.stats import mannwhitneyu

    dense = [True] * 9 + [False]
    pruned = [False] * 4 + [True] * 6
    distance = np.array([0.1, 0.3, 0.3, math.inf, 0.2, 0.3, 0.5, math.inf, 0.4, 0.05])
    found = compare(outcomes(dense, distances=distance), outcomes(pruned)).adversarial.comparisons[1]
    assert (found.first, found.second, found.count_first, found.count_second) == ("S10", "S11", 4, 5)
    pairs = list(product(distance[:4], distance[4:9]))
    assert found.below == pytest.approx(sum((a < b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))
    assert found.p_value == pytest.approx(mannwhitneyu(distance[:4], distance[4:9], alternative="two-sided").pvalue)


def test_nothing_is_tested_where_a_set_is_empty_or_all_are_alike() -> None:
    same = compare(outcomes([True, True]), outcomes([True, True])).adversarial
    assert [(c.below, c.p_value) for c in same.comparisons] == [(None, None)] * 3
    alike = compare(outcomes([True, True]), outcomes([True, False])).adversarial
    assert [(c.below, c.p_value) for c in alike.comparisons] == [(0.5, 1.0)] * 3


def test_a_summary_counts_infinite_distances_apart() -> None:
    found = summary(np.array([0.1, 0.3, math.inf, math.inf, math.inf]))
    assert (found.count, found.infinite, found.median) == (5, 3, math.inf)
    assert found.mean == pytest.approx(0.2)
    assert (summary(np.array([])).mean, summary(np.array([])).median) == (None, None)


def test_the_document_is_plain_json_without_infinities() -> None:
    found = compare(outcomes([True, False], distances=np.array([math.inf, 0.05])), outcomes([True, True]))
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["adversarial"]["sets"]["S11"]["distance"] == {"count": 1, "infinite": 1, "mean": None, "median": "inf"}
    assert plain["adversarial"]["sets"]["S01"]["indices"] == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "cifar10, test split"}, "same data"),
        ({"indices": np.array([0, 2])}, "same samples"),
        ({"labels": np.array([0, 1]), "predictions": np.array([0, 1])}, "labels"),
        ({"attacks": ("apgd-ce", "square")}, r"apgd-ce \+ square: evaluate both with the same --attack"),
        ({"eps": 0.2}, "same --eps"),
        ({"norm": "L2"}, "L2"),
    ],
)
def test_models_that_met_other_samples_or_attacks_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(outcomes([True, True]), outcomes([True, True], name="pruned", **changes))


def test_distances_must_be_there_and_be_the_dense_model_s() -> None:
    dense, pruned = outcomes([True, True], distances=None), outcomes([True, False])
    with pytest.raises(UserError, match="--attack fmn"):
        compare(dense, pruned)
    with pytest.raises(UserError, match="another model"):
        compare(dense, pruned, measured=outcomes([False, True], attacks=("fmn",)))
    found = compare(dense, pruned, measured=outcomes([True, True], attacks=("fmn",), distances=np.array([0.3, 0.4])))
    assert found.distance.tolist() == [0.3, 0.4]


def test_outcomes_are_read_from_a_results_document() -> None:
    sample = {"index": 3, "label": 1, "prediction": 1, "robust": False, "broken_by": "pgd-20", "distance": 0.05}
    wrong = {**sample, "index": 7, "prediction": 0, "broken_by": None, "distance": 0.0}
    document = {
        "target": "runs/1",
        "dataset": "digits",
        "split": "test",
        "threat": {"norm": "Linf", "eps": 0.1},
        "attacks": [{"name": "pgd-20", "parameters": {}}],
        "samples": [sample, wrong],
    }
    found = outcomes_of(document)
    assert found.indices.tolist() == [3, 7]
    assert found.correct.tolist() == [True, False]
    assert found.robust.tolist() == [False, False]
    assert found.distances is not None
    assert found.distances.tolist() == [0.05, 0.0]
    nothing = [{**one, "distance": None} for one in (sample, wrong)]
    assert outcomes_of({**document, "samples": nothing}).distances is None


def test_logit_margins_are_those_of_the_true_class_and_appear_per_set() -> None:
    layer = nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4)[:3])
    images = torch.tensor([[0.9, 0.2, 0.1, 0.0], [0.3, 0.5, 0.1, 0.0]]).view(2, 1, 2, 2)
    margins = logit_margins(nn.Sequential(nn.Flatten(), layer), [(images, torch.tensor([0, 0]))])
    assert margins.tolist() == pytest.approx([0.7, -0.2])
    found = compare(outcomes([True, False]), outcomes([True, True]), margins=margins.tolist())
    assert found.adversarial.margins is not None
    assert found.adversarial.margins["S01"].mean == pytest.approx(-0.2)
