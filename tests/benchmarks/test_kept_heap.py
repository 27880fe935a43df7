"""An attack that keeps the memory it frees, as in training and evaluation, against the allocator's own rule."""

import pytest
import torch

import apx
from apx.attacks import pgd
from apx.heap import kept_heap
from apx.memory_format import lay_out

from .conftest import Compare


@pytest.mark.parametrize("batch", [64, 128])
def test_an_attack(compare: Compare, batch: int) -> None:
    size = {"width": None, "batch": batch, "steps": 10} if compare.timing else {"width": 4, "batch": 2, "steps": 1}
    network = lay_out(apx.build("resnet18", num_classes=10, width=size["width"])).eval()
    x = torch.rand(size["batch"], 3, 32, 32, generator=torch.Generator().manual_seed(0))
    y = torch.arange(len(x)) % 10

    def attack() -> None:
        pgd(network, x, y, eps=8 / 255, alpha=2 / 255, steps=size["steps"])

    def attack_several_times() -> None:
        with kept_heap():
            for _ in range(3):
                attack()

    def as_often() -> None:
        for _ in range(3):
            attack()

    what = f"PGD-{size['steps']} on {len(x)} images, resnet18, fp32"
    compare(what, attack_several_times, as_often, named="the same without a kept heap", rounds=3)
