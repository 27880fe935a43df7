"""Layers and classes without weights are told."""

import torch
from torch import nn

from apx.collapse import collapsed


def network(classes: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, classes))


def test_a_network_with_weights_everywhere_has_not_collapsed() -> None:
    module = network()
    with torch.no_grad():
        module[0].weight[1:] = 0
        module[2].weight[:, 1:] = 0
    assert collapsed(module) == []


def test_a_layer_without_weights_is_named() -> None:
    module = network()
    with torch.no_grad():
        module[0].weight.zero_()
    assert collapsed(module) == ["layer 0 has no weight left"]


def test_classes_without_weights_are_named_whatever_their_bias() -> None:
    module = network()
    with torch.no_grad():
        module[2].weight[[1, 3]] = 0
    (sentence,) = collapsed(module)
    assert sentence == "2 of 4 classes have no weight left in layer 2, so constant logits: 1, 3"


def test_an_empty_classifier_is_one_fault_not_two_and_many_classes_are_not_all_listed() -> None:
    module = network(classes=30)
    with torch.no_grad():
        module[2].weight[:25] = 0
    (sentence,) = collapsed(module)
    assert sentence.startswith("25 of 30 classes")
    assert sentence.endswith("8, 9, ...")
    with torch.no_grad():
        module[2].weight.zero_()
    assert collapsed(module) == ["layer 2 has no weight left"]


def test_a_network_of_convolutions_alone_has_no_classes_to_name() -> None:
    assert collapsed(nn.Sequential(nn.Conv2d(1, 3, 3))) == []
