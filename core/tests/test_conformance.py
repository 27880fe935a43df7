"""Conformance: honest methods pass, each lie is found by the claim that it breaks and by no other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import model_validator

from apx import Method, UserError, Variant
from apx.conformance import Report, check
from apx.conformance.subject import tiny_settings

from . import lying_methods as lies

US = Variant("US", "weights", "1S", "L", "uniform", "weights")
ITERATIVE = replace(US, schedule="IT")
GLOBAL = replace(US, locality="G", budget="global")
FILTERS = Variant("S", "filters", "1S", "L", "uniform", "filters", excluded_layers=("classifier",))
CHANNELS = Variant("S", "channels", "1S", "G", "learned", "channels")
START = Variant("US", "weights", "IT", "L", "learned", "weights", sparsity_at="start")


def check_one(method: type[Method], variant: Variant, network: str = "plain") -> Report:
    return check(method, variants=[variant], networks=[network])


@pytest.mark.parametrize(
    ("method", "variant"),
    [
        (lies.Honest, US),
        (lies.Honest, ITERATIVE),
        (lies.Honest, GLOBAL),
        (lies.HonestWithManyTies, GLOBAL),
        (lies.Honest, FILTERS),
        (lies.Honest, replace(US, excluded_layers=("stem", "classifier"))),
        (lies.Honest, replace(US, budget="fixed-nonuniform")),
        (lies.Honest, replace(FILTERS, granularity="kernels", sparsity_unit="kernels")),
        (lies.Honest, replace(FILTERS, sparsity_unit="macs")),
        (lies.Honest, replace(FILTERS, granularity="columns", sparsity_unit="weights")),
        (lies.HonestAboutChannels, CHANNELS),
        (lies.HonestAboutItsStart, START),
        (lies.Honest, replace(GLOBAL, budget="learned")),
        (lies.HonestDuring, US),
        (lies.HonestBefore, US),
        (lies.HonestBefore, ITERATIVE),
        (lies.HonestInOnePhase, ITERATIVE),
        (lies.TellsTheTruth, US),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_honest_methods_pass(method: type[Method], variant: Variant) -> None:
    report = check_one(method, variant)
    assert report.failures() == []
    assert report.passed


LIES = [
    (lies.PrunesTwice, US, "schedule"),
    (lies.PrunesOnce, ITERATIVE, "schedule"),
    (lies.MovesMasksWhileFinetuning, US, "stage"),
    (lies.MovesMasksWhileTraining, US, "stage"),
    (lies.PrunesBeforePretraining, US, "stage"),
    (lies.PrunesBeforeTheFirstStep, US, "stage"),
    (lies.RanksGlobally, US, "locality"),
    (lies.RanksGlobally, replace(US, budget="fixed-nonuniform"), "locality"),
    (lies.RanksLocally, GLOBAL, "locality"),
    (lies.PrunesTooManyChannels, CHANNELS, "sparsity"),
    (lies.StartsTooDense, START, "sparsity"),
    (lies.HonestAboutItsStart, replace(START, sparsity_at="end"), "sparsity"),
    (lies.RanksLocallyInSilence, GLOBAL, "locality"),
    (lies.HandsOverMaskedScores, GLOBAL, "locality"),
    (lies.HandsOverConstantScores, GLOBAL, "locality"),
    (lies.ThinsFilters, FILTERS, "granularity"),
    (lies.ZeroesBesideTheMasks, FILTERS, "granularity"),
    (lies.PrunesTooLittle, US, "sparsity"),
    (lies.PrunesTooLittle, FILTERS, "sparsity"),
    (lies.PrunesTheClassifier, FILTERS, "excluded layers"),
    (lies.RevivesAtTheEnd, US, "masked zero"),
    (lies.LeavesBatchNormAlive, FILTERS, "dead batch norm"),
    (lies.Boasts, US, "reported"),
    (lies.AlwaysTheSameRandomMasks, US, "seed"),
    (lies.DrawsFromTheGlobalGenerator, US, "seed"),
    (lies.ForgetsItsState, US, "resume"),
    (lies.KeepsItsScoresInMemory, US, "resume"),
    (lies.ReadsTheTestSet, US, "test set"),
    (lies.ReadsTheTestSetOnTheQuiet, US, "test set"),
]


@pytest.mark.parametrize(("method", "variant", "claim"), LIES, ids=[f"{m.__name__}-{c}" for m, _, c in LIES])
def test_a_lie_fails_its_own_claim_and_no_other(method: type[Method], variant: Variant, claim: str) -> None:
    report = check_one(method, variant)
    assert [verdict.claim for _, verdict in report.failures()] == [claim]
    assert not report.passed


def test_a_network_beyond_a_variant_is_not_applicable() -> None:
    report = check_one(lies.Honest, FILTERS, "depthwise")
    (case,) = report.cases
    assert case.not_applicable is not None
    assert "grouped convolution" in case.not_applicable
    assert case.verdicts == ()
    assert not report.passed  # nothing could be judged


def test_phases_are_short_unless_the_preset_check_says_how_long() -> None:
    class Patient(lies.Honest):
        presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"check": {"sparsity": 0.6, "finetune": {"epochs": 3}}}

    settings = tiny_settings(Patient, US)
    assert isinstance(settings, lies.TwoPhases)
    assert (settings.sparsity, settings.rounds) == (0.6, 3)
    assert (settings.pretrain.epochs, settings.finetune.epochs, settings.finetune.batch_size) == (2, 3, 16)


def test_settings_that_refuse_short_phases_are_told_of_the_preset() -> None:
    class Long(lies.TwoPhases):
        @model_validator(mode="after")
        def _long(self) -> "Long":
            if self.finetune.epochs < 5:
                raise ValueError("finetune needs five epochs")
            return self

    class Hasty(lies.Honest):
        Settings = Long

    with pytest.raises(UserError, match=r"five epochs.*Hasty\.presets a 'check'"):
        check_one(Hasty, US)


def test_a_report_is_plain_json() -> None:
    document = check_one(lies.Boasts, US).document()
    assert document["passed"] is False
    (case,) = document["cases"]
    assert case["variant"] == "US weights 1S L uniform"
    assert {"claim", "claimed", "observed", "passed"} == set(case["verdicts"][0])


def test_unknown_networks_and_methods_are_users_mistakes() -> None:
    with pytest.raises(UserError, match="unknown network 'large'"):
        check(lies.Honest, variants=[US], networks=["large"])
    with pytest.raises(UserError, match="there is no method 'honest'"):
        check(lies.Honest)
