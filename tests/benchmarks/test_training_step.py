"""A step of adversarial training by apx, against official code and against the textbook's loops.

What is timed on apx's side is the trainer, data and augmentation included; the baselines are handed their images.
"""

import time
from collections.abc import Callable

import pytest
import torch
from textbook import pgd_step, trades_step
from torch import nn
from torch.nn import functional

import apx
from apx.datasets import Dataset
from apx.masked_model import MaskedModel
from apx.memory_format import lay_out
from apx.registry import objectives
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Hooks, Trainer

from .conftest import Compare
from .official import official_module, on_its_device
from .phases import random_data

EPS, ALPHA, BETA = 8 / 255, 2 / 255, 6.0
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Sizes:
    """What is trained: CIFAR's shapes and a whole resnet18 where it is timed, something tiny where not."""

    def __init__(self, timing: bool, device: str) -> None:
        self.width: int | None = None if timing else 4
        self.batch = (128 if device == "cuda" else 64) if timing else 4
        self.steps = 10 if timing else 2
        self.batches = 12 if timing and device == "cuda" else 1

    def data(self) -> Dataset:
        return random_data(self.batch * self.batches)

    def network(self, device: str) -> nn.Module:
        torch.manual_seed(0)
        return apx.build("resnet18", num_classes=10, width=self.width).to(device)


def by_apx(sizes: Sizes, objective: str, device: str, precision: str) -> Callable[[], float]:
    """Return what trains for `sizes.batches` steps, and the seconds of one of them.

    On a GPU the first step records CUDA graphs, a fraction of a second in each phase of a run, and does not count.
    """
    settings = TrainSettings(
        objective=objective, epochs=1, batch_size=sizes.batch, steps=sizes.steps, optimizer="sgd", lr=0.01,
        alpha=ALPHA, eps=EPS, handover="last",
    )  # fmt: skip
    environment = Environment(sizes.data(), 0, torch.device(device), precision)
    model = MaskedModel(lay_out(sizes.network(device)))
    chosen = objectives()[objective](settings, environment.threat(settings))

    def train() -> float:
        ends = [time.perf_counter()]
        hooks = Hooks(step=lambda *_: ends.append(time.perf_counter()))  # after the loss has come from the device
        Trainer(model, settings, environment, "phase", chosen, hooks=hooks).fit()
        counted = ends[1:] if device == "cuda" else ends
        return (counted[-1] - counted[0]) / max(len(counted) - 1, 1)

    return train


def by_a_loop(
    sizes: Sizes, device: str, step: Callable[[nn.Module, torch.optim.Optimizer, torch.Tensor, torch.Tensor], object]
) -> Callable[[], float]:
    """Return what takes as many steps, on images that it is handed, and the seconds of one."""
    network, data = sizes.network(device), sizes.data().train
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    x, y = data.images[: sizes.batch].to(device).float() / 255, data.labels[: sizes.batch].to(device)

    def train() -> float:
        started = time.perf_counter()
        for _ in range(sizes.batches):
            step(network, optimizer, x, y)
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / sizes.batches

    return train


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("device", DEVICES)
def test_trades_against_hydras_own(compare: Compare, device: str, precision: str) -> None:
    official, sizes = official_module("hydra", "utils/adv.py", device), Sizes(compare.timing, device)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
        loss = official.trades_loss(
            network, x, y, device, optimizer, step_size=ALPHA, epsilon=EPS, perturb_steps=sizes.steps, beta=BETA,
            clip_min=0.0, clip_max=1.0,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    what = f"TRADES-10, resnet18, {sizes.batch} images, {device}, {precision}"
    compare.reported(
        what,
        by_apx(sizes, "trades", device, precision),
        by_a_loop(sizes, device, step),
        named="HYDRA's trades_loss, fp32",
        rounds=3,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("device", DEVICES)
def test_pgd_against_rice_and_others_own(compare: Compare, device: str, precision: str) -> None:
    """Adversarial training of "Overfitting in adversarially robust deep learning" (ICML 2020), whose repository's
    attack many others copied: each of its steps differentiates with respect to the weights as well.
    """
    official, sizes = official_module("robust_overfitting", "train_cifar.py", device), Sizes(compare.timing, device)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
        network.train()
        with on_its_device(device):
            delta = official.attack_pgd(network, x, y, EPS, ALPHA, sizes.steps, restarts=1, norm="l_inf").detach()
        loss = functional.cross_entropy(network(official.normalize(torch.clamp(x + delta, 0.0, 1.0))), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    what = f"PGD-10, resnet18, {sizes.batch} images, {device}, {precision}"
    compare.reported(
        what,
        by_apx(sizes, "pgd", device, precision),
        by_a_loop(sizes, device, step),
        named="Rice et al.'s attack_pgd, fp32",
        rounds=3,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", ["trades", "pgd"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_against_the_textbook(compare: Compare, device: str, objective: str, precision: str) -> None:
    sizes = Sizes(compare.timing, device)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
        if objective == "trades":
            trades_step(
                network, optimizer, x, y, torch.randn_like(x), eps=EPS, alpha=ALPHA, steps=sizes.steps, beta=BETA
            )
        else:
            pgd_step(network, optimizer, x, y, torch.rand_like(x), eps=EPS, alpha=ALPHA, steps=sizes.steps)

    what = f"{objective.upper()}-10, resnet18, {sizes.batch} images, {device}, {precision}"
    compare.reported(
        what,
        by_apx(sizes, objective, device, precision),
        by_a_loop(sizes, device, step),
        named="the textbook's loop, fp32",
        rounds=3,
    )
