"""Li20 against its official code: masks, and three steps of the ticket's training."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from testing_support import four_layers, part
from torch import Tensor

from apx import Masks
from apx.masks import weight_names
from apx_li20.method import Li20

Maker = Callable[..., Any]
SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "lr_schedule": "constant"}


def ticket(trial: Maker, trained: dict[str, Tensor], sparsity: float, fidelity: str) -> tuple[Any, Masks]:
    """Draw the ticket of a trained network: a search of no epochs, from the given weights."""
    made = trial("li20", sparsity=sparsity, net=four_layers(1), set={"search.epochs": 0, "fidelity": fidelity})
    made.model.module.load_state_dict(trained, strict=False)  # the official batch norms count no batches
    with made.run.targeting(sparsity):
        return made, made.method.prune(made.model, made.run)


@pytest.mark.parametrize("case", ["masks", "ties"])
@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_masks_of_weights_and_batch_norms(trial: Maker, golden: Maker, case: str, sparsity: float) -> None:
    tensors, _ = golden(case)
    _, masks = ticket(trial, part(tensors, "state/"), sparsity, "official")
    expected = part(tensors, f"mask-{sparsity}/")
    assert len(expected) == 7
    for name, mask in expected.items():
        assert torch.equal(masks[name], mask), name


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_exact_counts_are_at_most_one_off_the_official_ones(trial: Maker, golden: Maker, sparsity: float) -> None:
    tensors, _ = golden("masks")
    made, masks = ticket(trial, part(tensors, "state/"), sparsity, "paper")
    official = part(tensors, f"mask-{sparsity}/")
    assert sum(int((masks[name] != official[name]).sum()) for name in weight_names(made.model.module)) <= 1


def test_exact_counts_keep_some_of_the_tied_weights_that_the_official_ones_drop(trial: Maker, golden: Maker) -> None:
    tensors, _ = golden("ties")
    made, masks = ticket(trial, part(tensors, "state/"), 0.8, "paper")
    names = weight_names(made.model.module)
    total = sum(masks[name].numel() for name in names)
    official = part(tensors, "mask-0.8/")
    assert sum(int(masks[name].sum()) for name in names) == total - round(0.8 * total)
    assert all(not (official[name] & ~masks[name]).any() for name in names)


def test_three_steps_of_the_tickets_training(trial: Maker, golden: Maker, given_steps: Maker) -> None:
    tensors, _ = golden("trajectory")
    made, masks = ticket(trial, part(tensors, "trained/"), 0.8, "official")
    made.model.module.load_state_dict(part(tensors, "initial/"))
    made.model.set_masks(masks)
    for name, mask in part(tensors, "mask/").items():
        assert torch.equal(masks[name], mask)
    method: Li20 = made.method
    steps = given_steps(made.model, tensors["x"], tensors["y"], SGD, dynamics=method.dynamics(made.model, made.run))
    for number, (loss, state) in enumerate(steps):
        torch.testing.assert_close(loss, float(tensors[f"loss-{number}"]), rtol=1e-5, atol=1e-6)
        for name, expected in part(tensors, f"step-{number}/").items():
            if name.endswith("num_batches_tracked"):
                continue  # the official batch norms do not count
            torch.testing.assert_close(state[f"module.{name}"], expected, rtol=1e-4, atol=1e-6, msg=name)


def test_without_official_fidelity_biases_are_left_alone(trial: Maker, golden: Maker, given_steps: Maker) -> None:
    tensors, _ = golden("trajectory")
    made, masks = ticket(trial, part(tensors, "trained/"), 0.8, "paper")
    made.model.module.load_state_dict(part(tensors, "initial/"))
    made.model.set_masks(masks)
    steps = given_steps(
        made.model, tensors["x"], tensors["y"], SGD, dynamics=made.method.dynamics(made.model, made.run)
    )
    ours, official = steps[-1][1]["module.11.bias"], tensors["step-2/11.bias"]
    assert float(ours.abs().sum()) > 3 * float(official.abs().sum())
