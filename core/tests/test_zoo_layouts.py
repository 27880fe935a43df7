"""All 45 recorded layouts become networks of apx, with the logits of the official forward passes; nothing else does."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from apx.architectures import build
from apx.errors import UserError
from apx.masks import reported_sparsity
from apx.zoo.layouts import convert

sys.path.insert(0, str(Path(__file__).parent / "zoo_layouts"))
from recorded import HERE, LAYOUTS, SPARSITY, images, state_of

LOGITS = load_file(HERE / "logits.safetensors")
METHODS = ("flyingbird", "robustbird", "mad", "rst")


def method_of(name: str) -> str | None:
    return next((method for method in METHODS if method in name), None)


def content_of(name: str) -> object:
    """Return what loading a file of this layout returns."""
    state, wrapper = state_of(LAYOUTS[name]["tensors"]), LAYOUTS[name]["wrapper"]
    return state if wrapper is None else {"epoch": 3, "args": Namespace(lr=0.1), wrapper: state}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_answers_as_the_official_network(name: str) -> None:
    converted = convert(content_of(name), sparsity=SPARSITY, method=method_of(name), dataset="cifar10")
    assert (converted.arch, converted.num_classes) == (LAYOUTS[name]["network"], 10)
    network = build(converted.arch, num_classes=10, normalisation=converted.normalisation).eval()
    network.load_state_dict(converted.state)
    with torch.no_grad():
        logits = network(images())
    scale = max(1.0, float(LOGITS[name].abs().max()))
    difference = float((logits - LOGITS[name]).abs().max())
    print(f"{name}: {difference:.1e} of {scale:.1f}")
    assert difference <= 1e-4
    assert torch.equal(logits.argmax(1), LOGITS[name].argmax(1))
    assert float((LOGITS[name] - LOGITS[name][:1]).abs().max()) > 1e-2, "the images are told apart"


def test_every_recorded_layout_has_golden_logits_with_their_origin() -> None:
    from safetensors import safe_open

    assert set(LOGITS) == set(LAYOUTS)
    assert len(LAYOUTS) == 45
    with safe_open(HERE / "logits.safetensors", framework="pt") as opened:
        made = opened.metadata()
    assert all('"commit": "https://github.com/' in made[name] for name in LAYOUTS)


def test_scores_keep_the_share_that_the_sparsity_leaves() -> None:
    for name in ("orig_hydra_subnet_resnet18", "orig_rst_vgg16"):
        converted = convert(content_of(name), sparsity=0.99)
        network = build(converted.arch, num_classes=10)
        network.load_state_dict(converted.state)
        assert reported_sparsity(network) == pytest.approx(0.99, abs=1e-4)


def small(name: str) -> dict[str, Tensor]:
    """Return the layout's tensors without memory of their own: for what is refused before numbers matter."""
    return {
        key: torch.ones(()).expand(shape) if shape else torch.tensor(1)
        for key, shape in LAYOUTS[name]["tensors"].items()
    }


def test_the_habit_of_naming_tells_a_last_average_pool_from_a_max_pool() -> None:
    """Both load strictly into either network: only the names say which is right."""
    assert convert(small("mad_vgg16")).arch == "vgg16_bn_linear_avg"
    assert convert(small("twinrep_vgg16")).arch == "vgg16_bn_linear"
    assert any("pool" in note for note in convert(small("twinrep_vgg16")).notes)


def test_normalisation_comes_from_the_file_before_the_method() -> None:
    in_file = convert(small("orig_flyingbird_vgg16") | {"normalize.std": torch.ones(3)}, method="flyingbird")
    assert (in_file.normalisation_source, in_file.normalisation.std) == ("file", (1.0, 1.0, 1.0))
    by_method = convert(small("flyingbird_vgg16"), method="flyingbird", dataset="svhn")
    assert (by_method.normalisation_source, by_method.normalisation.mean[0]) == ("method", 0.43090966)
    neither = convert(small("radmm_vgg16"), method="radmm", dataset="cifar10")
    assert (neither.normalisation_source, neither.normalisation) == ("none", None)
    loader = convert(content_of("orig_rst_resnet18"), sparsity=0.9, dataset="cifar10")
    assert "data loader" in loader.notes[0]


def without(state: dict[str, Tensor], *beginnings: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(beginnings)}


WRONG = {
    "a stage is missing": (
        without(small("base_resnet18"), "layer4"),
        "lacks layer4.0.conv1.weight and 29 more of a resnet18",
    ),
    "left over": (small("base_vgg16") | {"extra": torch.zeros(1)}, "has extra, which a vgg16 does not have"),
    "another kernel": (
        small("base_resnet18") | {"conv1.weight": torch.zeros(64, 3, 5, 5)},
        "conv1.weight of the checkpoint has shape (64, 3, 5, 5), that of a resnet18 (64, 3, 3, 3)",
    ),
    "unknown wrapper": ({"weights": small("base_resnet18")}, "an entry 'weights' that is no tensor"),
    "no dict": ([torch.zeros(1)], "the file is a list, not a dict of tensors"),
    "empty": ({}, "the file is empty"),
    "wrapped nonsense": ({"net": {"a": 1}}, "its 'net' has an entry 'a' that is no tensor"),
    "another network": ({"a.weight": torch.zeros(1)}, "no network that is known here: its tensors are a.weight"),
    "no sparsity": (small("orig_harp_weight_vgg16"), "give the sparsity"),
    "wrong export": (
        {key: value for key, value in small("orig_harp_weight_vgg16").items() if "popup" not in key},
        "dense export of HARP",
    ),
    "another head": (
        small("base_vgg16") | {"classifier.0.weight": torch.zeros(128, 2048)},
        "no known network has a head of 128x2048",
    ),
    "a mask is missing": (
        without(small("orig_robustbird_vgg16"), "features.0.weight_mask"),
        "layer features.0 of the checkpoint has no weight_mask",
    ),
    "half of the statistics": (
        without(small("orig_flyingbird_vgg16"), "normalize.std"),
        "one of normalize.mean and normalize.std",
    ),
    "a block is missing": (
        without(small("pwoa_vgg16"), "layer5.2"),
        "the blocks layer1 to layer5 of this file have 12",
    ),
    "two networks": (
        small("li20_vgg16") | {"model.0.0.weight": torch.zeros(64, 3, 3, 3)},
        "this file holds two networks",
    ),
    "a factor of another shape": (
        small("orig_twinrep_twin_vgg16") | {"classifier.aux_weight": torch.zeros(3, 3)},
        "the factor of layer classifier has shape 3x3",
    ),
    "a mask of another shape": (
        small("mad_vgg16") | {"classifier.mask_weight": torch.zeros(3, 512)},
        "the mask of layer classifier has shape 3x512",
    ),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_what_is_not_recognised_is_refused_in_a_sentence(content: object, said: str) -> None:
    with pytest.raises(UserError) as refused:
        convert(content)
    assert said in str(refused.value)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0])
def test_a_sparsity_that_is_no_share_is_refused(sparsity: float) -> None:
    with pytest.raises(UserError, match="is not a share of the weights"):
        convert(small("orig_hydra_subnet_vgg16"), sparsity=sparsity)


def test_channel_scores_of_the_pruning_stage_are_refused() -> None:
    state = small("harp_channel_resnet18")
    state["conv1.popup_scores"] = torch.zeros(64, 1, 1, 1)
    with pytest.raises(UserError, match="stage before finetuning"):
        convert(state, sparsity=0.5)
