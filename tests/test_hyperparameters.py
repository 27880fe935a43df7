"""The values of the paper preset that an entry lists with their sources are what a run with `--preset paper` uses."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from apx.method import MethodSettings
from apx.registry import Entry, entries, load_method, values_for
from apx.runner.request import Request, build_settings
from apx.training.settings import TrainSettings, parse_fraction
from apx_taxonomy import survey_label

PUBLISHED = [entry for entry in entries() if entry.origin == "survey" and entry.implemented]
LISTED = [entry for entry in entries() if entry.hyperparameters]
ALWAYS = ("epochs", "batch_size", "objective", "optimizer", "lr", "weight_decay", "lr_schedule")


def settings(entry: Entry, dataset: str, arch: str) -> MethodSettings:
    request = Request(entry.slug, dataset=dataset, arch=arch, preset="paper")
    return build_settings(load_method(entry.slug), request)


def places(entry: Entry) -> list[tuple[str, str]]:
    """The benchmark's data and networks, and whatever else the entry has a value for."""
    datasets = {"cifar10", "svhn", *(name for one in entry.hyperparameters for name in one.datasets)}
    architectures = {"resnet18", "vgg16", *(name for one in entry.hyperparameters for name in one.architectures)}
    return [(dataset, arch) for dataset in sorted(datasets) for arch in sorted(architectures)]


def held(settings: BaseModel, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        assert part in type(value).model_fields, f"there is no setting {name}"
        value = getattr(value, part)
    return value


def same(listed: Any, used: Any) -> bool:
    if isinstance(used, tuple | list):
        return isinstance(listed, list) and len(listed) == len(used) and all(map(same, listed, used))
    if isinstance(used, float):
        number = parse_fraction(listed)
        return isinstance(number, int | float) and math.isclose(number, used, rel_tol=1e-9)
    return type(listed) is type(used) and listed == used


def needed(settings: MethodSettings) -> Iterator[str]:
    """What a reader has to be told: how each phase trains, and all that is the method's own."""
    usual = MethodSettings()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, TrainSettings):
            yield from (f"{name}.{field}" for field in needed_of_phase(value))
        elif name not in MethodSettings.model_fields or value != getattr(usual, name):
            yield name


def needed_of_phase(phase: TrainSettings) -> list[str]:
    if phase.epochs == 0:
        return ["epochs"]
    fields = list(ALWAYS)
    if phase.optimizer == "sgd":
        fields.append("momentum")
    if phase.lr_schedule == "step":
        fields.append("milestones")
    if survey_label(phase.objective) == "AT":
        fields += ["eps", "alpha"] if phase.objective == "fgsm-rs" else ["eps", "alpha", "steps"]
    if phase.objective in ("trades", "mart"):
        fields.append("beta")
    return fields


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.slug)
def test_a_published_method_lists_its_values(entry: Entry) -> None:
    assert entry.hyperparameters


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry.slug)
def test_what_is_listed_is_what_runs(entry: Entry) -> None:
    for dataset, arch in places(entry):
        used = settings(entry, dataset, arch)
        for name, value in values_for(entry.hyperparameters, dataset, arch).items():
            assert same(value, held(used, name)), f"{name} on {dataset}, {arch}: {value} is listed"


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry.slug)
def test_what_a_reader_needs_is_listed(entry: Entry) -> None:
    for dataset, arch in places(entry):
        listed = values_for(entry.hyperparameters, dataset, arch)
        missing = [name for name in needed(settings(entry, dataset, arch)) if name not in listed]
        assert not missing, f"on {dataset}, {arch}"


def test_a_value_that_is_not_used_is_noticed() -> None:
    assert same("8/255", 8 / 255)
    assert same([0.5, 0.75], (0.5, 0.75))
    assert not same(0.031, 8 / 255)
    assert not same([0.5], (0.5, 0.75))
    assert not same(1, True)
    assert not same(None, 0.1)
    assert same(None, None)
