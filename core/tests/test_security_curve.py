"""Security curves: what R(e) is, what it comes down to, and which results can be drawn together."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.errors import UserError
from apx.evaluation.security_curve import curves_of, distances_of, labels_of, security_curve
from apx.evaluation.stored import read_document
from apx_taxonomy.validation import validate

EPS = 8 / 255


def accuracy(value: float) -> dict[str, float]:
    return {"value": value, "low": 0.0, "high": 1.0}


def document(distances: list[Any], **changes: Any) -> dict[str, Any]:
    """Return a valid results document: sample i has distance i of the list, 0 is misclassified."""
    eps = changes.get("threat", {"eps": EPS})["eps"]
    samples = []
    for index, distance in enumerate(distances):
        wrong = distance == 0
        robust = not wrong and (distance is None or float(distance) > eps)
        broken_by = None if wrong or robust else "fmn"
        sample = {"index": index, "label": 0, "prediction": int(wrong), "robust": robust, "broken_by": broken_by}
        samples.append({**sample, "distance": distance})
    n = len(distances)
    made = {
        "schema_version": "1",
        "target": "runs/dense",
        "method": None,
        "arch": "resnet18",
        "dataset": "digits",
        "split": "test",
        "threat": {"norm": "Linf", "eps": eps},
        "protocol": "apx",
        "attacks": [{"name": "fmn", "parameters": {}}],
        "n": n,
        "clean_accuracy": accuracy(sum(sample["prediction"] == 0 for sample in samples) / n),
        "robust_accuracy": accuracy(sum(sample["robust"] for sample in samples) / n),
        "seed": 0,
        "versions": {"apx-core": "0.1.0"},
        "device": "cpu",
        "selected_on": None,
        "warnings": [],
        "samples": samples,
    }
    return {**made, **changes}


DISTANCES = st.lists(st.floats(0, 0.3) | st.just(math.inf) | st.just(0.0), min_size=1, max_size=40)


@settings(deadline=None)
@given(DISTANCES)
def test_the_curve_never_rises_and_is_what_counting_gives(distances: list[float]) -> None:
    curve = security_curve(distances, threat_eps=EPS, points=50)
    assert all(later <= earlier for earlier, later in zip(curve.robust, curve.robust[1:], strict=False))
    for eps, robust in zip(curve.eps, curve.robust, strict=True):
        assert robust == sum(distance > eps for distance in distances) / len(distances)


@settings(deadline=None)
@given(DISTANCES)
def test_the_area_is_that_under_the_curve(distances: list[float]) -> None:
    curve = security_curve(distances, threat_eps=EPS, points=4001)
    step = curve.max_eps / 4000
    assert curve.area == pytest.approx(sum(curve.robust[:-1]) * step, abs=2 * step)


def test_the_curve_begins_at_the_clean_accuracy_and_passes_through_the_robust_one() -> None:
    made = document([0, 0.01, EPS, 0.04, 0.2, "inf"])
    assert validate(made, "results") == []
    (curve,) = curves_of([made])
    assert (len(curve.eps), curve.eps[0], curve.eps[-1]) == (1000, 0.0, 0.15)
    assert curve.robust[0] == curve.clean_accuracy == made["clean_accuracy"]["value"] == 5 / 6
    assert curve.robust_accuracy == made["robust_accuracy"]["value"] == 3 / 6  # the one at eps exactly is broken
    assert curve.robust[-1] == 2 / 6
    assert curve.median_distance == pytest.approx((EPS + 0.04) / 2)


def test_a_median_without_an_adversarial_example_is_infinite() -> None:
    (curve,) = curves_of([document([0.1, "inf", "inf"])])
    assert curve.median_distance == math.inf
    assert json.loads(json.dumps(curve.as_dict(), allow_nan=False))["median_distance"] == "inf"


def test_a_misclassified_sample_has_no_distance_whatever_is_recorded() -> None:
    made = document([0, 0.1])
    made["samples"][0]["distance"] = None
    assert distances_of(made) == [0.0, 0.1]


def test_what_another_attack_broke_counts_only_at_its_own_radius() -> None:
    made = document([0.05, 0.05, 0.01])
    made["samples"][0].update(robust=False, broken_by="apgd-ce")
    (curve,) = curves_of([made])
    assert (curve.robust_accuracy, curve.combined) == (2 / 3, 1 / 3)
    (elsewhere,) = curves_of([made], threat_eps=0.02)
    assert (elsewhere.robust_accuracy, elsewhere.combined) == (2 / 3, None)


def test_a_large_threat_is_not_drawn_at_the_edge() -> None:
    (curve,) = curves_of([document([0.1], threat={"norm": "Linf", "eps": 0.15})])
    assert curve.max_eps == 0.3
    (asked,) = curves_of([document([0.1])], max_eps=0.05)
    assert asked.max_eps == 0.05


def test_labels_tell_models_apart() -> None:
    sparsity = {"reported": 0.9}
    documents = [
        document([0.1], method="hydra", sparsity=sparsity, target="runs/a"),
        document([0.1], method="hydra", sparsity=sparsity, target="runs/b/"),
        document([0.1]),
        document([0.1], arch=None),
    ]
    assert labels_of(documents) == ["hydra resnet18 90% (a)", "hydra resnet18 90% (b)", "resnet18", "runs/dense"]


@pytest.mark.parametrize(
    ("documents", "settings", "message"),
    [
        ([document([None])], {}, "--attack fmn"),
        ([document([0.1]), document([0.1], dataset="cifar10")], {}, "different data .*cifar10"),
        ([document([0.1]), document([0.1], threat={"norm": "L2", "eps": 0.5})], {}, "different norms"),
        ([document([0.1]), document([0.1], threat={"norm": "Linf", "eps": 0.1})], {}, "--eps"),
        ([document([0.1])], {"names": ["a", "b"]}, "2 names .* 1 models"),
        ([document([0.1])], {"max_eps": 0.0}, "radius > 0"),
        ([document([math.nan])], {}, "nan is no distance"),
        ([], {}, "at least one"),
    ],
)
def test_results_that_cannot_be_drawn_together_are_refused(
    documents: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        curves_of(documents, **settings)


def test_different_radii_are_drawn_together_where_one_is_chosen() -> None:
    documents = [document([0.1]), document([0.1], threat={"norm": "Linf", "eps": 0.2})]
    assert [curve.threat_eps for curve in curves_of(documents, threat_eps=0.05)] == [0.05, 0.05]


def test_a_stored_document_is_read_and_anything_else_refused(tmp_path: Path) -> None:
    made = document([0, 0.1, "inf"])
    good, text, other = (tmp_path / name for name in ("good.json", "text.json", "other.json"))
    good.write_text(json.dumps(made))
    text.write_text("{")
    other.write_text(json.dumps({**made, "n": 0}))
    assert read_document(good) == made
    for path, message in ((text, "no JSON"), (other, "no results document"), (tmp_path / "none.json", "cannot read")):
        with pytest.raises(UserError, match=message):
            read_document(path)
