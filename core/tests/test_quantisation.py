from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from apx.architectures import build
from apx.architectures.normalisation import Normalisation, normalise_inputs
from apx.datasets import Split
from apx.errors import UserError
from apx.export import export_state, load_checkpoint, read_metadata
from apx.masks import count_zeros, prunable_layers
from apx.quantisation import Comparison, compare, is_quantised, load_quantised, quantise, save_quantised
from apx.shrinking import shrink
from apx_taxonomy.validation import validate


def images(count: int, size: int = 8, seed: int = 0) -> Tensor:
    levels = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(seed))
    return levels.float() / 255


class Residual(nn.Module):
    """A stem that a batch norm and an addition read, a depthwise and a projecting convolution, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.deep_norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 12, 1, stride=2, bias=False)
        self.wide_norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.deep_norm(self.deep(functional.relu(self.norm(x))))
        x = functional.relu(self.wide_norm(self.wide(x)))
        return self.head(x.mean((2, 3)))


def trained(net: nn.Module, seed: int = 1) -> nn.Module:
    """Give the batch norms statistics that matter, and prune half of every weight tensor, the first filter whole."""
    generator = torch.Generator().manual_seed(seed)
    for norm in net.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    with torch.no_grad():
        for layer in prunable_layers(net).values():
            layer.weight.mul_(torch.rand(layer.weight.shape, generator=generator) < 0.5)
            layer.weight[0] = 0
    return net.eval()


def residual() -> nn.Module:
    torch.manual_seed(0)
    net = trained(Residual())
    with torch.no_grad():
        net.head.bias -= net(images(32)).mean(dim=0)  # so that every class is predicted
    return net


def linear(*rows: tuple[float, ...]) -> nn.Module:
    layer = nn.Linear(12, len(rows), bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for row, values in enumerate(rows):
            layer.weight[row, : len(values)] = torch.tensor(values)
    return nn.Sequential(nn.Flatten(), layer).eval()


def test_what_was_pruned_stays_zero():
    net = residual()
    quantised = quantise(net, images(20))
    for name, layer in prunable_layers(net).items():
        after = quantised.module.get_submodule(name).weight
        assert (after[layer.weight == 0] == 0).all()
        assert (after != 0).any()
    report = quantised.report
    assert (report.zeros_before, report.weights) == count_zeros(net)
    assert report.zeros_after == count_zeros(quantised.module)[0]
    assert report.rounded_to_zero >= 0
    assert report.layers == 4


def test_weights_are_symmetric_integers_per_channel_and_the_ones_that_become_zero_are_counted():
    net = linear((1.27, -0.64, 0.0, 0.004), (0.0127, 0.0001, -0.00004))
    quantised = quantise(net, images(4, 2))
    layer = quantised.module[1]
    assert layer.weight_scale.tolist() == pytest.approx([0.01, 0.0001])
    integers = torch.round(layer.weight / layer.weight_scale[:, None])
    assert integers[:, :4].tolist() == [[127, -64, 0, 0], [127, 1, 0, 0]]
    assert quantised.report.rounded_to_zero == 2
    assert quantised.report.sparsity == (18 / 24, 20 / 24)


def test_the_module_itself_is_untouched():
    net = residual().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    quantise(net, images(6))
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not is_quantised(net)


def built(name: str, width: int) -> nn.Module:
    torch.manual_seed(0)
    return trained(build(name, num_classes=5, in_channels=3, image_size=16, width=width))


@pytest.mark.parametrize(
    ("make", "norms_left"), [(residual, 1), (lambda: built("resnet18", 2), 0), (lambda: built("vgg16", 1), 0)]
)
def test_the_simulation_says_what_the_int8_program_says(make, norms_left):
    net = make()
    quantised = quantise(net, images(24, 16), batch_size=10)
    seen, unseen = images(24, 16), images(24, 16, seed=9)
    with torch.no_grad():
        for x in (seen, unseen):
            assert torch.allclose(quantised.module(x), quantised.program(x), rtol=0, atol=1e-5)
        assert 0 < (quantised.module(seen) - net(seen)).abs().max() < 0.1 * net(seen).abs().max()
    left = [part for part in quantised.module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert len(left) == norms_left
    assert quantised.report.logits_difference < 1e-5


def test_a_norm_is_not_folded_into_a_convolution_that_something_else_reads():
    net = residual()
    quantised = quantise(net, images(20))
    assert quantised.report.folded == 2
    assert isinstance(quantised.module.norm, nn.BatchNorm2d)


def test_the_simulation_computes_what_integers_compute():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    x = images(6, 4)
    x[0, 0, 0, 0] = 1  # an integer is a pixel level then, and nothing lies half way between two
    quantised = quantise(net, x).module
    assert torch.allclose(quantised(x).double(), integer_logits(quantised, x), rtol=0, atol=1e-6)


def integer_logits(quantised: nn.Module, x: Tensor) -> Tensor:
    """Multiply and add integers alone, [B, 3, 4, 4] -> [B, 3]; only the sums are scaled."""
    conv, head = quantised[0], quantised[3]
    q = integers(x.double(), conv)
    out = functional.conv2d(q, weight(conv), padding=1) * (conv.input_scale * conv.weight_scale).double()[:, None, None]
    hidden = (out + conv.bias.double()[:, None, None]).relu().flatten(1)
    sums = integers(hidden, head) @ weight(head).T
    return sums * (head.input_scale * head.weight_scale).double() + head.bias.double()


def integers(x: Tensor, layer: nn.Module) -> Tensor:
    rounded = (x / layer.input_scale.double()).round() + layer.input_zero_point
    return rounded.clamp(0, 255) - layer.input_zero_point


def weight(layer: nn.Module) -> Tensor:
    scale = layer.weight_scale.view(-1, *[1] * (layer.weight.dim() - 1))
    return (layer.weight / scale).round().double()


def gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_(True)
    functional.cross_entropy(net(x), y, reduction="sum").backward()
    return x.grad


def test_gradients_reach_the_images_and_point_where_those_of_the_float_network_point():
    net, x, y = residual(), images(16), torch.arange(16) % 4
    quantised = quantise(net, x)
    through = gradient(quantised.module, x, y)
    assert (through.flatten(1).abs().amax(dim=1) > 0).all()
    assert functional.cosine_similarity(through.flatten(1), gradient(net, x, y).flatten(1)).min() > 0.9
    with pytest.raises(RuntimeError):
        gradient(quantised.program, x, y)


def test_an_input_beyond_the_calibrated_range_has_no_gradient():
    quantised = quantise(linear((1.0, 1.0)), images(4, 2) / 2).module
    x = torch.full((1, 3, 2, 2), 0.25)
    x[0, 0, 0, 0] = 0.75
    x.requires_grad_(True)
    quantised(x).sum().backward()
    assert x.grad.flatten()[:3].tolist() == [0, 1, 0]


def test_a_saved_network_is_loaded_again_bit_for_bit(tmp_path: Path):
    net, x = residual(), images(16)
    normalise_inputs(net, Normalisation((0.5, 0.4, 0.3), (0.2, 0.2, 0.3)), 3)
    quantised = quantise(net, x).module
    save_quantised(tmp_path / "int8.safetensors", quantised, {"arch": "residual"})
    assert read_metadata(tmp_path / "int8.safetensors")["arch"] == "residual"
    loaded = load_quantised(tmp_path / "int8.safetensors", Residual())
    assert is_quantised(loaded)
    assert not loaded.training
    assert torch.equal(loaded(x), quantised(x))
    with safe_open(tmp_path / "int8.safetensors", framework="pt") as file:
        assert file.get_tensor("stem.weight").dtype == torch.int8


def test_a_shrunk_network_is_loaded_into_the_full_architecture(tmp_path: Path):
    def net() -> nn.Sequential:
        first, second = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 6, 3, bias=False)
        deep = nn.Conv2d(6, 6, 3, groups=6, bias=False)
        parts = (first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.ReLU(), deep, nn.BatchNorm2d(6), nn.Flatten())
        return nn.Sequential(*parts, nn.Linear(96, 3))

    dense, x = net().eval(), images(8)
    with torch.no_grad():
        dense[0].weight[2:5] = 0
        dense[1].bias[2:5] = 0
        dense[3].weight[1] = 0
    small = shrink(dense, x).module
    assert (small[0].out_channels, small[5].groups) == (5, 5)
    quantised = quantise(small, x).module
    save_quantised(tmp_path / "int8.safetensors", quantised)
    assert torch.equal(load_quantised(tmp_path / "int8.safetensors", net())(x), quantised(x))


def test_the_report_has_the_bytes_that_are_stored(tmp_path: Path):
    net = residual()
    quantised = quantise(net, images(8))
    save_quantised(tmp_path / "int8.safetensors", quantised.module)
    export_state(tmp_path / "float.safetensors", net)
    for name, told in (("int8", quantised.report.bytes_after), ("float", quantised.report.bytes_before)):
        stored = load_checkpoint(tmp_path / f"{name}.safetensors")
        assert sum(tensor.nbytes for tensor in stored.values()) == told
    assert quantised.report.bytes_after < quantised.report.bytes_before


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x)).mean((2, 3))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.mean((2, 3)), self.layer.weight * 0.5)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x.mean((2, 3)))
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("net", "calibration", "message"),
    [
        (Residual(), images(4) * 255, "not in"),
        (Residual(), (images(4) * 255).to(torch.uint8), "float images"),
        (Residual(), images(0), "float images"),
        (nn.Flatten(), images(4), "no convolution or linear layer"),
        (Twice(), images(4), "'layer' is used 2 times"),
        (Masked(), images(4), "computes a weight on the way"),
        (Branching(), images(4), "refuses it"),
    ],
)
def test_what_cannot_be_quantised_is_refused_in_one_sentence(net, calibration, message):
    with pytest.raises(UserError, match=message):
        quantise(net, calibration)


def test_a_network_is_not_quantised_twice():
    quantised = quantise(residual(), images(4))
    with pytest.raises(UserError, match="8 bits already"):
        quantise(quantised.module, images(4))


def test_files_that_hold_no_such_network_are_refused(tmp_path: Path):
    net = residual()
    with pytest.raises(UserError, match="not quantised"):
        save_quantised(tmp_path / "int8.safetensors", net)
    export_state(tmp_path / "float.safetensors", net)
    with pytest.raises(UserError, match="holds no quantised network"):
        load_quantised(tmp_path / "float.safetensors", Residual())
    save_quantised(tmp_path / "int8.safetensors", quantise(net, images(4)).module)
    with pytest.raises(UserError, match="does not fit Sequential"):
        load_quantised(tmp_path / "int8.safetensors", linear((1.0,)))


def judged() -> tuple[nn.Module, Split]:
    """Return the network and images that it classifies correctly, but for the first eight."""
    net, x = residual(), images(32)
    y = net(x).argmax(dim=1)
    y[:8] = (y[:8] + 1) % 4
    return net, Split((x * 255).round().to(torch.uint8), y)


def test_both_networks_are_evaluated_by_the_protocol_on_the_same_images():
    net, split = judged()
    quantised = quantise(net, images(32))
    compared = compare(net, quantised.module, split, attack="pgd", eps=0.01, steps=5, n=24, target={"arch": "mine"})
    documents = (compared.float32, compared.int8, compared.transfer)
    for document in documents:
        assert validate(document, "results") == []
        assert (document["n"], document["arch"]) == (24, "mine")
        assert 0 < document["robust_accuracy"]["value"] < document["clean_accuracy"]["value"]
    indices = [[sample["index"] for sample in document["samples"]] for document in documents]
    assert indices[0] == indices[1] == indices[2]
    assert compared.int8["sparsity"]["reported"] == quantised.report.sparsity[1]
    assert compared.agreement > 0.9
    assert compared.transferred > 0.5
    assert compared.document()["masked"] in (True, False)


def test_a_transfer_to_the_same_network_is_the_white_box_attack():
    net, split = judged()
    compared = compare(net, net, split, attack="fgsm", eps=0.03)
    assert compared.transfer["samples"] == compared.float32["samples"]
    assert compared.agreement == compared.transferred == 1
    assert not compared.masked


def test_a_network_without_attack_has_no_transferred_share():
    net, split = judged()
    compared = compare(net, net, split, attack="clean", eps=0.03)
    assert compared.transferred is None
    assert not compared.masked


@pytest.mark.parametrize(("transferred", "masked"), [(0.55, False), (0.45, True)])
def test_a_transfer_far_stronger_than_the_white_box_attack_is_a_sign_of_masking(transferred, masked):
    own = {"robust_accuracy": {"value": 0.6, "low": 0.5, "high": 0.7}}
    assert Comparison(own, own, {"robust_accuracy": {"value": transferred}}).masked == masked
