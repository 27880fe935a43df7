from __future__ import annotations

from typing import Any

import pytest

from apx_taxonomy import Problem, validate


def results(**changes: Any) -> dict[str, Any]:
    accuracy = {"value": 0.5, "low": 0.25, "high": 0.75}
    return {
        "schema_version": "1", "target": "runs/some", "method": "hydra", "arch": "resnet18",
        "dataset": "digits",
        "split": "test", "threat": {"norm": "Linf", "eps": 0.15}, "protocol": "apx",
        "attacks": [{"name": "pgd", "parameters": {"steps": 20, "alpha": 0.01}}],
        "n": 2, "clean_accuracy": accuracy, "robust_accuracy": accuracy, "seed": 0,
        "versions": {"apx-core": "0.1.0"}, "device": "cpu", "selected_on": "val", "warnings": [],
        "samples": [
            {"index": 0, "label": 3, "prediction": 3, "robust": True, "broken_by": None, "distance": "inf"},
            {"index": 1, "label": 3, "prediction": 3, "robust": False, "broken_by": "pgd", "distance": 0.1},
        ],
    } | changes  # fmt: skip


def test_a_valid_results_document():
    assert validate(results(), "results") == []


@pytest.mark.parametrize("distance", [0.0, 0.3, "inf", None])
def test_distances(distance):
    document = results()
    document["samples"][0]["distance"] = distance
    assert validate(document, "results") == []


@pytest.mark.parametrize("distance", [-0.1, "infinity", True])
def test_wrong_distances(distance):
    document = results()
    document["samples"][0]["distance"] = distance
    assert [problem.pointer for problem in validate(document, "results")] == ["/samples/0/distance"]


def test_a_robust_sample_is_broken_by_nothing():
    document = results()
    document["samples"][0]["broken_by"] = "pgd"
    assert [problem.pointer for problem in validate(document, "results")] == ["/samples/0/broken_by"]


@pytest.mark.parametrize("field", sorted(results()))
def test_every_field_of_a_results_document_is_required(field):
    document = results()
    del document[field]
    assert Problem("", f"'{field}' is missing") in validate(document, "results")
