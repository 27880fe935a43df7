import copy
import re

import pytest
import torch
from torch import nn
from torch.func import functional_call

from apx.architectures import BUILTIN, Normalisation, build, normalisation_of
from apx.errors import UserError
from apx.masks import prunable_layers

BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": () if part == BN[-1] else (width,) for part in BN}


def resnet_layout() -> dict[str, tuple[int, ...]]:
    layout = {"conv1.weight": (64, 3, 3, 3), **batch_norm("bn1", 64)}
    c_in = 64
    for stage, c_out in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            at = f"layer{stage}.{block}"
            layout |= {f"{at}.conv1.weight": (c_out, c_in, 3, 3), **batch_norm(f"{at}.bn1", c_out)}
            layout |= {f"{at}.conv2.weight": (c_out, c_out, 3, 3), **batch_norm(f"{at}.bn2", c_out)}
            if c_in != c_out:
                layout |= {f"{at}.shortcut.0.weight": (c_out, c_in, 1, 1), **batch_norm(f"{at}.shortcut.1", c_out)}
            c_in = c_out
    return layout | {"linear.weight": (10, 512), "linear.bias": (10,)}


def preact_layout() -> dict[str, tuple[int, ...]]:
    layout: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 3, 3)}
    c_in = 64
    for stage, c_out in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            at = f"layer{stage}.{block}"
            layout |= {**batch_norm(f"{at}.bn1", c_in), f"{at}.conv1.weight": (c_out, c_in, 3, 3)}
            layout |= {**batch_norm(f"{at}.bn2", c_out), f"{at}.conv2.weight": (c_out, c_out, 3, 3)}
            if c_in != c_out:
                layout[f"{at}.shortcut.0.weight"] = (c_out, c_in, 1, 1)
            c_in = c_out
    return layout | {**batch_norm("bn", 512), "linear.weight": (10, 512), "linear.bias": (10,)}


def vgg_features() -> dict[str, tuple[int, ...]]:
    positions = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    layout: dict[str, tuple[int, ...]] = {}
    for position, c_in, c_out in zip(positions, (3, *widths), widths, strict=False):
        layout[f"features.{position}.weight"] = (c_out, c_in, 3, 3)
        layout |= batch_norm(f"features.{position + 1}", c_out)
    return layout


def vgg_layout() -> dict[str, tuple[int, ...]]:
    head = {0: (256, 2048), 2: (256, 256), 4: (10, 256)}
    layout = vgg_features()
    for position, shape in head.items():
        layout |= {f"classifier.{position}.weight": shape, f"classifier.{position}.bias": shape[:1]}
    return layout


def vgg_linear_layout() -> dict[str, tuple[int, ...]]:
    return vgg_features() | {"classifier.weight": (10, 512), "classifier.bias": (10,)}


def vgg_mlp_layout() -> dict[str, tuple[int, ...]]:
    head = {"classifier.0.weight": (512, 512), "classifier.0.bias": (512,), **batch_norm("classifier.1", 512)}
    return vgg_features() | head | {"classifier.3.weight": (10, 512), "classifier.3.bias": (10,)}


def vgg_fc_layout() -> dict[str, tuple[int, ...]]:
    layout = vgg_features()
    for position, shape in {"0": (4096, 512), "3": (4096, 4096)}.items():
        layout |= {f"classifier.{position}.weight": shape, f"classifier.{position}.bias": shape[:1]}
        layout |= batch_norm(f"classifier.{int(position) + 1}", 4096)
    return layout | {"classifier.6.weight": (10, 4096), "classifier.6.bias": (10,)}


def wide_layout(factor: int) -> dict[str, tuple[int, ...]]:
    layout: dict[str, tuple[int, ...]] = {"conv1.weight": (16, 3, 3, 3)}
    c_in = 16
    for stage, c_out in enumerate((16 * factor, 32 * factor, 64 * factor), start=1):
        for block in range(4):
            at = f"block{stage}.layer.{block}"
            layout |= {**batch_norm(f"{at}.bn1", c_in), f"{at}.conv1.weight": (c_out, c_in, 3, 3)}
            layout |= {**batch_norm(f"{at}.bn2", c_out), f"{at}.conv2.weight": (c_out, c_out, 3, 3)}
            if c_in != c_out:
                layout[f"{at}.convShortcut.weight"] = (c_out, c_in, 1, 1)
            c_in = c_out
    return layout | {**batch_norm("bn1", c_in), "fc.weight": (10, c_in), "fc.bias": (10,)}


CANONICAL = [  # tensors, parameters, convolution and linear weights, counted in published checkpoints or official code
    ("resnet18", resnet_layout(), 122, 11_173_962, 11_164_352),
    ("preact_resnet18", preact_layout(), 107, 11_172_170, 11_164_352),
    ("vgg16", vgg_layout(), 84, 15_311_818, 15_302_848),
    ("vgg16_bn_linear", vgg_linear_layout(), 80, 14_724_042, 14_715_584),
    ("vgg16_bn_linear_avg", vgg_linear_layout(), 80, 14_724_042, 14_715_584),
    ("vgg16_bn_mlp512", vgg_mlp_layout(), 87, 14_987_722, 14_977_728),
    ("vgg16_bn_fc4096", vgg_fc_layout(), 94, 33_658_826, 33_625_792),
    ("wrn-28-4", wide_layout(4), 155, 5_849_050, 5_841_840),
    ("wrn-28-10", wide_layout(10), 155, 36_479_194, 36_461_232),
]


@pytest.mark.parametrize(("name", "layout", "tensors", "parameters", "weights"), CANONICAL)
def test_names_shapes_and_counts_are_the_published_ones(name, layout, tensors, parameters, weights):
    model = build(name, num_classes=10)
    assert [(key, tuple(value.shape)) for key, value in model.state_dict().items()] == list(layout.items())
    assert len(model.state_dict()) == tensors
    assert sum(p.numel() for p in model.parameters()) == parameters
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum(layer.weight.numel() for layer in layers) == weights


def logits(model: nn.Module, size: int, channels: int = 3) -> torch.Tensor:
    x = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(x)


@pytest.mark.parametrize("name", sorted(BUILTIN))
@pytest.mark.parametrize("size", [16, 32, 48])
def test_logits_have_one_row_per_image(name, size):
    if LEAST.get(name, 4) > size:
        pytest.skip("needs 32x32")
    assert logits(build(name, num_classes=7, image_size=size, width=4), size).shape == (2, 7)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_deep_copy_computes_the_same_and_does_not_follow(name):
    model = build(name, num_classes=3, in_channels=1, width=2)
    twin = copy.deepcopy(model)
    before = logits(model, 32, channels=1)
    assert torch.equal(logits(twin, 32, channels=1), before)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(logits(twin, 32, channels=1), before)


@pytest.mark.parametrize("name", [name for name in BUILTIN if name.startswith("vgg")])
def test_the_last_pool_of_vgg_is_the_published_one_at_32x32(name):
    model = build(name, num_classes=4, width=2).eval()
    x = torch.rand(3, 3, 32, 32)
    features = model.features(x)  # [3, 16, 2, 2]
    pooled = {
        "vgg16": features,
        "vgg16_bn_linear": nn.functional.max_pool2d(features, 2),
        "vgg16_bn_linear_avg": nn.functional.avg_pool2d(features, 2),
        "vgg16_bn_mlp512": nn.functional.avg_pool2d(features, 2),
        "vgg16_bn_fc4096": nn.functional.max_pool2d(features, 2),
    }
    torch.testing.assert_close(model(x), model.classifier(pooled[name].flatten(1)))


def test_a_wide_block_projects_what_is_activated_and_passes_on_what_is_not():
    block1 = build("wrn-28-4", num_classes=4, width=2).block1.layer.eval()
    x = torch.randn(3, 2, 6, 6)
    with torch.no_grad():
        for block in block1:
            block.conv2.weight.zero_()  # leaves the shortcut alone
        projected = block1[0].convShortcut(block1[0].bn1(x).relu())
        assert torch.equal(block1(x), projected)


@pytest.mark.parametrize(
    ("name", "shortcuts"), [("resnet18", 3), ("preact_resnet18", 3), ("wrn-28-4", 3), ("wrn-28-10", 3), ("vgg16", 0)]
)
def test_shortcuts_are_found_by_their_names(name, shortcuts):
    model = build(name, num_classes=10, width=2)
    left_out = prunable_layers(model).keys() - prunable_layers(model, ["shortcut"]).keys()
    assert len(left_out) == shortcuts
    assert all(model.get_submodule(layer).kernel_size == (1, 1) for layer in left_out)


def test_a_wide_networks_weights_start_at_hes_scale_over_what_they_feed():
    model = build("wrn-28-4", num_classes=10)
    weight = model.get_parameter("block2.layer.0.conv1.weight")  # [128, 64, 3, 3]
    assert float(weight.detach().std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert (model.fc.bias == 0).all()


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
def test_the_pool_of_vgg_is_the_adaptive_one(side):
    model = build("vgg16", num_classes=2, width=1)
    x = torch.rand(2, 8, side, side + 1)
    model.features = nn.Identity()
    expected = model.classifier(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))
    torch.testing.assert_close(model(x), expected)


def test_width_scales_every_layer():
    assert build("vgg16", num_classes=10, width=16).state_dict()["classifier.0.weight"].shape == (64, 512)
    assert build("resnet18", num_classes=10, width=16).state_dict()["linear.weight"].shape == (10, 128)
    assert build("vgg16_bn_mlp512", num_classes=10, width=16).state_dict()["classifier.0.weight"].shape == (128, 128)
    assert build("wrn-28-10", num_classes=10, width=2).state_dict()["fc.weight"].shape == (10, 80)
    assert build("cnn-small", num_classes=10, width=8).state_dict()["5.weight"].shape == (50, 16 * 64)
    with pytest.raises(UserError, match="width 0"):
        build("resnet18", num_classes=10, width=0)


LEAST = {
    "vgg16": 16, "vgg16_bn_linear": 32, "vgg16_bn_linear_avg": 16, "vgg16_bn_mlp512": 16, "vgg16_bn_fc4096": 32,
    "cnn-small": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_the_smallest_images_give_logits(name):
    least = LEAST.get(name, 4)
    assert logits(build(name, num_classes=7, image_size=least, width=2), least).shape == (2, 7)


@pytest.mark.parametrize("name", LEAST)
def test_images_too_small_are_refused(name):
    least = LEAST[name]
    with pytest.raises(UserError, match=f"{name} needs images of at least {least}x{least} pixels, these have"):
        build(name, num_classes=10, image_size=least - 1)


def test_unknown_names_get_the_nearest_and_all_allowed():
    with pytest.raises(UserError, match=r"did you mean 'resnet18'.*allowed: .*cnn-small.*timm:NAME"):
        build("resnet81", num_classes=10)


STATISTICS = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def test_normalisation_is_applied_and_stays_out_of_the_state_dict():
    plain = build("resnet18", num_classes=10, width=4)
    model = build("resnet18", num_classes=10, width=4, normalisation=STATISTICS)
    model.load_state_dict(plain.state_dict(), strict=True)
    plain.load_state_dict(model.state_dict(), strict=True)
    x = torch.rand(2, 3, 32, 32)
    shaped = [torch.tensor(values).view(3, 1, 1) for values in (STATISTICS.mean, STATISTICS.std)]
    expected = plain.eval()((x - shaped[0]) / shaped[1])
    assert torch.equal(model.eval()(x), expected)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(functional_call(model, dict(model.named_parameters()), (x,)), expected)
    assert normalisation_of(plain) is None
    recorded = normalisation_of(model)
    assert recorded is not None
    assert recorded.mean == pytest.approx(STATISTICS.mean)


def test_a_copy_of_a_normalised_model_has_statistics_of_its_own():
    model = build("cnn-small", num_classes=10, width=2, normalisation=STATISTICS).eval()
    twin, x = copy.deepcopy(model), torch.rand(1, 3, 32, 32)
    before = twin(x)
    model.get_buffer("normalisation_mean").zero_()
    assert torch.equal(twin(x), before)
    assert not torch.equal(model(x), before)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((0.5,), (0.0,))])
def test_normalisation_refuses_nonsense(mean, std):
    with pytest.raises(UserError, match="one mean and one positive std"):
        Normalisation(mean, std)


def test_normalisation_needs_the_images_channels():
    with pytest.raises(UserError, match="3 channels, the images have 1"):
        build("resnet18", num_classes=10, in_channels=1, width=2, normalisation=STATISTICS)


@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "vit_tiny_patch16_224", "resnet18"])
def test_timm_networks_take_the_datasets_images(name):
    model = build(f"timm:{name}", num_classes=10, image_size=32, normalisation=STATISTICS)
    assert model.training
    assert logits(model, 32).shape == (2, 10)


def test_timm_mistakes_are_explained():
    with pytest.raises(UserError, match=r"nearest: .*resnet18"):
        build("timm:resnet_18", num_classes=10)
    with pytest.raises(UserError, match="no width"):
        build("timm:resnet18", num_classes=10, width=16)
    with pytest.raises(UserError, match="8x8 images"):
        build("timm:vit_tiny_patch16_224", num_classes=10, image_size=8)


USER_MODULE = """
from torch import nn

def make(num_classes, in_channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

def wrong_head(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes + 1))

def no_module():
    return 3

number = 3
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "their_nets.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("user_module")
def test_a_users_factory_gets_what_it_names():
    assert logits(build("py:their_nets:make", num_classes=5, image_size=8), 8).shape == (2, 5)


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("py:their_nets:wrong_head", "should give logits [1, 5] for one image, gave [1, 6]"),
        ("py:their_nets:no_module", "gave a int, not a torch.nn.Module"),
        ("py:their_nets:number", "has no function 'number'"),
        ("py:their_nets", "should read py:module:factory"),
        ("py:their_other_nets:make", "no module 'their_other_nets'"),
    ],
)
def test_a_users_wrong_factory_is_explained(name, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        build(name, num_classes=5, image_size=8)


@pytest.mark.usefixtures("user_module")
def test_a_users_factory_without_width_refuses_one():
    with pytest.raises(UserError, match="has no width"):
        build("py:their_nets:make", num_classes=5, image_size=8, width=8)
