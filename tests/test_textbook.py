"""The trainer's steps are the textbook's: losses, parameters, momentum and running statistics after twenty of them.

An attack takes signs of gradients, and TRADES' starts where its gradient is all rounding: in float32 one bit decides
on pixels, and a textbook loop differs from itself as soon as memory is laid out otherwise. So apx's own layout is
compared in float64; and in float32 with what rounds as apx does: the textbook's layout of memory for both, the KL's
target as log-probabilities and SGD's fused kernel. Then the last bit agrees.
"""

from collections.abc import Iterator

import pytest
import torch
from float64 import Double
from textbook import pgd_step, trades_step
from torch import Tensor, nn
from torch.optim import Optimizer

import apx
from apx.datasets import Dataset, Split, epoch_batches
from apx.masked_model import MaskedModel
from apx.memory_format import set_memory_format
from apx.randomness import derive_seed
from apx.registry import objectives
from apx.training.objectives import Batch
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Hooks, Trainer

STEPS, BATCH, EPS, ATTACK_STEPS = 20, 8, 8 / 255, 3


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = apx.load_dataset("digits")
    part = Split(digits.train.images[: STEPS * BATCH], digits.train.labels[: STEPS * BATCH])
    return Dataset("some", part, part, part, num_classes=10, threat_eps=EPS)


def network(arch: str) -> nn.Module:
    torch.manual_seed(0)
    return apx.build(arch, num_classes=10, image_size=16, width=4)


def settings(name: str) -> TrainSettings:
    return TrainSettings(
        objective=name, epochs=1, batch_size=BATCH, steps=ATTACK_STEPS, optimizer="sgd", lr=0.05,
        lr_schedule="constant", momentum=0.9, weight_decay=5e-4, alpha=EPS / 2, handover="last",
    )  # fmt: skip


def by_apx(name: str, model: nn.Module, data: Dataset, precision: str) -> tuple[list[float], Optimizer]:
    losses: list[float] = []
    asked, environment = settings(name), Environment(data, 0, torch.device("cpu"), precision, augment=False)
    trainer = Trainer(
        MaskedModel(model), asked, environment, "phase",
        objectives()[name](asked, environment.threat(asked)), hooks=Hooks(step=lambda *at: losses.append(at[-1])),
    )  # fmt: skip
    trainer.fit()
    return losses, trainer._optimizer


def by_the_textbook(name: str, model: nn.Module, data: Dataset, same_rounding: bool) -> tuple[list[float], Optimizer]:
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, fused=True if same_rounding else None
    )
    common = {"eps": EPS, "alpha": EPS / 2, "steps": ATTACK_STEPS}

    def step(batch: Batch) -> Tensor:
        if name == "trades":
            kind = {"beta": 6.0, "log_target": same_rounding}
            return trades_step(model, optimizer, batch.x, batch.y, batch.normal("start"), **common, **kind)
        return pgd_step(model, optimizer, batch.x, batch.y, batch.uniform("start"), **common)

    return [step(batch).item() for batch in batches(data)], optimizer


def batches(data: Dataset) -> Iterator[Batch]:
    seed = derive_seed(0, "phase")
    device = torch.device("cpu")
    for x, y, indices in epoch_batches(
        data, data.train, batch_size=BATCH, seed=seed, epoch=0, augment=False, device=device
    ):
        yield Batch(x.contiguous(), y, indices, 0, "phase", 0)


def furthest(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest entry; what is 0 but for rounding counts as 1e-3."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-3))


def compare(
    name: str, ours: nn.Module, textbook: nn.Module, data: Dataset, *, same_rounding: bool, within: float, as_in: str
) -> None:
    losses, optimizer = by_apx(name, ours, data, as_in)
    expected, other = by_the_textbook(name, textbook, data, same_rounding)
    assert len(losses) == STEPS
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected), rtol=within, atol=0)
    state = ours.state_dict()
    for key, tensor in textbook.state_dict().items():
        assert furthest(state[key].float(), tensor.float()) < within, key
    for mine, (key, theirs) in zip(ours.parameters(), textbook.named_parameters(), strict=True):
        momentum = [one.state[parameter]["momentum_buffer"] for one, parameter in ((optimizer, mine), (other, theirs))]
        assert furthest(*momentum) < within, key


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "cnn-small"])
@pytest.mark.parametrize("name", ["trades", "pgd"])
@pytest.mark.parametrize("as_in", ["fp32", "bf16"])
def test_in_float64_twenty_steps_end_where_the_textbooks_do(name: str, arch: str, as_in: str, data: Dataset) -> None:
    """In apx's own layout, with all that is computed once or not at all; autocast to bf16 leaves float64 alone."""
    ours = Double(set_memory_format(network(arch), torch.channels_last))
    compare(name, ours, Double(network(arch)), data, same_rounding=False, within=1e-7, as_in=as_in)


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "cnn-small"])
@pytest.mark.parametrize("name", ["trades", "pgd"])
def test_in_float32_twenty_steps_end_where_the_textbooks_do(name: str, arch: str, data: Dataset) -> None:
    """In the textbook's layout, where it rounds as apx does."""
    compare(name, network(arch), network(arch), data, same_rounding=True, within=1e-5, as_in="fp32")
