"""What the conformance check looks with and at: the recorder, the tiny networks, the tiny dataset."""

import copy

import pytest
import torch
from torch.nn import functional

from apx import MaskedModel, Masks
from apx.conformance import NETWORKS, Recorder
from apx.conformance.data import ForbiddenReadError, Guard, tiny_dataset
from apx.conformance.networks import build_tiny
from apx.datasets import to_float
from apx.reparametrisation import LearnedScores

NAME = "0.weight"


def first_filters(model: MaskedModel, kept: int) -> Masks:
    mask = torch.zeros(model.module.get_parameter(NAME).shape, dtype=torch.bool)
    mask[:kept] = True
    return Masks({NAME: mask})


def test_masks_are_seen_when_set_with_phase_and_density() -> None:
    model = MaskedModel(build_tiny("plain", 0))
    recorder = Recorder(model)
    recorder.phase_start("prune", model)
    model.set_masks(first_filters(model, 4))
    recorder.phase_end("prune", model)
    assert [(seen.phase, seen.moment) for seen in recorder.observations] == [
        ("", "created"),
        ("prune", "start"),
        ("prune", "masks"),
        ("prune", "end"),
    ]
    created, start, masks, end = recorder.observations
    assert created.digest == start.digest != masks.digest == end.digest
    total = 8 * 27 + 16 * 72 + 4 * 16
    assert (start.kept, masks.kept, masks.total) == (total, total - 4 * 27, total)


def test_learned_masks_are_seen_though_never_set() -> None:
    model = MaskedModel(build_tiny("plain", 0))
    recorder = Recorder(model)
    model.reparametrise(NAME, LearnedScores(torch.arange(8.0).view(8, 1, 1, 1), 2))
    recorder.step("prune/scores", 0, 3, model)
    seen = recorder.observations[-1]
    assert (seen.epoch, seen.step, seen.total - seen.kept) == (0, 3, 6 * 27)


def test_a_mask_that_keeps_all_is_no_change() -> None:
    model = MaskedModel(build_tiny("plain", 0))
    recorder = Recorder(model)
    model.set_masks(first_filters(model, 8))
    created, masks = recorder.observations
    assert created.digest == masks.digest


def test_a_copy_is_told_apart_from_the_model() -> None:
    model = MaskedModel(build_tiny("plain", 0))
    recorder = Recorder(model)
    twin = copy.deepcopy(model)
    twin.set_masks(first_filters(twin, 1))  # a copy does not notify the recorder
    assert len(recorder.observations) == 1
    recorder.step("search", 0, 0, twin)
    assert not recorder.observations[-1].own


def test_scores_are_taken_when_masks_are_set_not_later() -> None:
    model = MaskedModel(build_tiny("plain", 0))
    recorder = Recorder(model, lambda m: {NAME: m.module.get_parameter(NAME).abs()})
    before = model.module.get_parameter(NAME).detach().abs().clone()
    model.set_masks(first_filters(model, 4))
    with torch.no_grad():
        model.module.get_parameter(NAME).add_(1.0)
    recorder.finish()
    assert recorder.scores is not None
    assert torch.equal(recorder.scores[NAME], before)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_tiny_and_fit_the_data(name: str) -> None:
    network = build_tiny(name, 0)
    assert sum(parameter.numel() for parameter in network.parameters()) < 20_000
    images = to_float(tiny_dataset(Guard()).train.images)
    assert network(images).shape == (64, 4)


def test_the_seed_decides_a_networks_weights() -> None:
    weights = [build_tiny("plain", seed).get_parameter(NAME) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_data_are_the_same_every_time_and_can_be_learned() -> None:
    data = tiny_dataset(Guard())
    assert data.train.digest == tiny_dataset(Guard()).train.digest
    network = build_tiny("plain", 0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        functional.cross_entropy(network(to_float(data.train.images)), data.train.labels).backward()
        optimizer.step()
    predicted = network(to_float(data.val.images)).argmax(dim=1)
    assert (predicted == data.val.labels).float().mean() > 0.9


def test_the_test_split_refuses_and_remembers() -> None:
    guard = Guard()
    data = tiny_dataset(guard)
    assert len(data.test) == 16  # its size may be asked for
    with pytest.raises(ForbiddenReadError, match="test set was read"):
        _ = data.test.images
    assert guard.reads == 1
    lenient = Guard(strict=False)
    assert tiny_dataset(lenient).test.images.shape == (16, 3, 8, 8)
    assert lenient.reads == 1
