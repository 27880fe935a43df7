"""A step of adversarial training by apx, against official code and against the textbook's loops.

What is timed on apx's side is the trainer, data and augmentation included; the baselines are handed their images.
"""

import time
from collections.abc import Callable

import pytest
import torch

import apx
from apx.masked_model import MaskedModel
from apx.memory_format import lay_out
from apx.registry import objectives
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Hooks, Trainer

from .conftest import Compare
from .loops import ALPHA, EPS, Loop
from .official import FILES, what_is_missing
from .phases import random_data

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
BASELINES = {
    "hydra": ("trades", "HYDRA's trades_loss, fp32"),
    "textbook_trades": ("trades", "the textbook's loop, fp32"),
    "robust_overfitting": ("pgd", "Rice et al.'s attack_pgd, fp32"),
    "textbook_pgd": ("pgd", "the textbook's loop, fp32"),
}
"""Name of a loop -> objective of apx that does the same, and the loop in words."""


def loop_of(baseline: str, device: str, timing: bool) -> Loop:
    """Return what is trained: CIFAR's shapes and a whole resnet18 where it is timed, something tiny where not."""
    cuda = device == "cuda"
    return Loop(
        baseline,
        device,
        width=None if timing else 4,
        batch=(128 if cuda else 64) if timing else 4,
        attack=10 if timing else 2,
        steps=(12 if cuda else 3) if timing else 1,
        threads=torch.get_num_threads(),
    )


def by_apx(loop: Loop, objective: str, precision: str) -> Callable[[], float]:
    """Return what trains for as many steps as the loop, and the seconds of one of them.

    The first does not count: it asks the system for memory and on a GPU records CUDA graphs, a fraction of a second in
    each phase of a run. The loop has taken its own before anything counts.
    """
    settings = TrainSettings(
        objective=objective, epochs=1, batch_size=loop.batch, steps=loop.attack, optimizer="sgd", lr=0.01,
        alpha=ALPHA, eps=EPS, handover="last",
    )  # fmt: skip
    environment = Environment(random_data(loop.batch * loop.steps), 0, torch.device(loop.device), precision)
    torch.manual_seed(0)
    model = MaskedModel(lay_out(apx.build("resnet18", num_classes=10, width=loop.width).to(loop.device)))
    chosen = objectives()[objective](settings, environment.threat(settings))

    def train() -> float:
        ends = [time.perf_counter()]
        hooks = Hooks(step=lambda *_: ends.append(time.perf_counter()))  # after the loss has come from the device
        Trainer(model, settings, environment, "phase", chosen, hooks=hooks).fit()
        counted = ends[1:] if len(ends) > 2 else ends
        return (counted[-1] - counted[0]) / max(len(counted) - 1, 1)

    return train


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_of_adversarial_training(compare: Compare, device: str, baseline: str, precision: str) -> None:
    missing = what_is_missing(baseline) if baseline in FILES else None
    if missing:
        pytest.skip(missing)
    objective, named = BASELINES[baseline]
    loop = loop_of(baseline, device, compare.timing)
    with loop.in_its_own_process() as theirs:
        compare.reported(
            f"{objective.upper()}-10, resnet18, {loop.batch} images, {device}, {precision}",
            by_apx(loop, objective, precision),
            theirs,
            named=named,
            rounds=3,
        )
