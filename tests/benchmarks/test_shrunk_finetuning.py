"""Finetuning a network without 75 % of its filters at its real size, beside finetuning it at full size under masks."""

import pytest
import torch
from torch import Tensor, nn

import apx
from apx.coupling import couple_filters
from apx.masked_model import MaskedModel
from apx.memory_format import lay_out
from apx.registry import objectives
from apx.shrunk_training import smaller
from apx.training.settings import TrainSettings
from apx.training.trainer import Environment, Trainer

from .conftest import Compare
from .phases import random_data


def filters_of(network: nn.Module, inner_only: bool) -> dict[str, Tensor]:
    """Mask three quarters of the filters; of residual blocks' last convolutions none, since the stream is shared."""
    found = {}
    for name, weight in network.named_parameters():
        if weight.dim() != 4 or (inner_only and "conv1" not in name.split(".")[-2]):
            continue
        kept = torch.arange(len(weight)) % 4 == 0
        found[name] = kept.view(-1, 1, 1, 1).expand_as(weight).contiguous()
    return found


@pytest.mark.parametrize("arch", ["vgg16", "resnet18"])
def test_finetuning_at_real_size(compare: Compare, arch: str) -> None:
    width, batch, attack = (None, 64, 10) if compare.timing else (4, 4, 1)
    settings = TrainSettings(
        objective="trades", epochs=1, batch_size=batch, steps=attack, optimizer="sgd", lr=0.01, handover="last"
    )
    environment = Environment(random_data(2 * batch), 0, torch.device("cpu"))
    network = lay_out(apx.build(arch, num_classes=10, width=width))
    full = MaskedModel(network)
    example = torch.rand(1, 3, 32, 32)
    full.set_masks(couple_filters(network, filters_of(network, inner_only=arch == "resnet18"), example))
    found = smaller(full, example)
    assert found is not None

    def fit(model: MaskedModel) -> None:
        Trainer(
            model, settings, environment, "phase", objectives()["trades"](settings, environment.threat(settings))
        ).fit()

    compare(
        f"{arch}, 75 % filters, TRADES-{attack} at real size, {batch} images",
        lambda: fit(found.model),
        lambda: fit(full),
        named="at full size, masked",
        rounds=3,
    )
