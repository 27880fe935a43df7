from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from apx.architectures import build
from apx.cost import count_flops, count_weights, latency
from apx.coupling import couple_filters
from apx.errors import UserError
from apx.shrinking import resize, shrink, shrink_summary

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """stem -> two blocks of two convolutions on the same residual stream -> linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 6)
        self.blocks = nn.ModuleList(nn.Sequential(conv_norm(6, 5), nn.ReLU(), conv_norm(5, 6)) for _ in range(2))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        for block in self.blocks:
            x = (x + block(x)).relu()
        return self.head(x.mean((2, 3)))


def conv_norm(c_in: int, c_out: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, groups=groups, bias=False), nn.BatchNorm2d(c_out))


def flat() -> nn.Module:
    """Two convolutions, 2x2 maps flattened into a hidden linear layer."""
    return nn.Sequential(
        conv_norm(3, 6), nn.ReLU(), conv_norm(6, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 4),
    )  # fmt: skip


def depthwise() -> nn.Module:
    return nn.Sequential(
        conv_norm(3, 6), nn.ReLU6(), conv_norm(6, 6, groups=6), nn.ReLU6(), conv_norm(6, 5), nn.Flatten(),
        nn.Linear(320, 4),
    )  # fmt: skip


def trained(net: nn.Module) -> nn.Module:
    """Give the batch norms statistics that a constant channel would show."""
    generator = torch.Generator().manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
            layer.running_mean.neg_()  # of zero, batch norm makes a positive number, which survives ReLU
    return net.eval()


def kill(net: nn.Module, dead: dict[str, list[int]], *, norms: bool = True, example: Tensor = X) -> nn.Module:
    """Zero output filters, with what belongs to them in the batch norm that follows."""
    masks = {}
    for name, filters in dead.items():
        mask = torch.ones_like(net.get_parameter(f"{name}.weight"), dtype=torch.bool)
        mask[filters] = False
        masks[f"{name}.weight"] = mask
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    with torch.no_grad():
        for name, mask in (couple_filters(net, masks, example) if norms else masks).items():
            tensors[name].mul_(mask)
    return net


def kill_half(net: nn.Module, example: Tensor) -> nn.Module:
    layers = [name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    generator = torch.Generator().manual_seed(2)
    dead = {}
    for name in layers:
        filters = net.get_submodule(name).out_channels
        dead[name] = torch.randperm(filters, generator=generator)[: filters // 2].tolist()
    return kill(net, dead, example=example)


@torch.no_grad()
def same(a: nn.Module, b: nn.Module, x: Tensor = X) -> bool:
    return torch.allclose(a(x), b(x), rtol=0, atol=1e-4)


def test_sizes_after_removal_worked_by_hand():
    net = kill(trained(flat()), {"0.0": [0, 2, 5], "2.0": [4], "6": [1, 2]})
    with torch.no_grad():
        net[6].bias[[1, 2]] = 0
    report = shrink(net, X)
    assert report.channels == {
        "0.0": (3, 3), "0.1": (3, 3), "2.0": (4, 3), "2.1": (4, 4), "6": (5, 16), "8": (4, 5),
    }  # fmt: skip
    assert report.filters_removed == 4
    assert report.weights_before == 6 * 27 + 5 * 54 + 7 * 20 + 4 * 7
    assert report.weights_after == 3 * 27 + 4 * 27 + 5 * 16 + 4 * 5
    assert report.flops_after < report.flops_before
    assert (report.kept_constant_channels, report.kept_coupled_filters) == (0, 0)
    assert same(net, report.module)


def test_the_module_itself_is_untouched():
    net = kill(trained(flat()), {"0.0": [0]})
    net[0][0].weight.requires_grad_(False)
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    small = shrink(net, X).module
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert small.training
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in net.parameters()]


def test_a_dense_network_stays_as_it_is():
    report = shrink(trained(flat()), X)
    assert report.channels == {}
    assert report.weights_before == report.weights_after


def test_a_filter_behind_which_batch_norm_emits_a_constant_stays_and_is_counted():
    net = kill(trained(flat()), {"0.0": [0, 2]}, norms=False)
    report = shrink(net, X)
    assert (report.filters_removed, report.kept_constant_channels) == (0, 2)
    with torch.no_grad():
        net[0][1].bias[0] = -9  # the constant is negative now, and rectified away
    report = shrink(net, X)
    assert (report.filters_removed, report.kept_constant_channels) == (1, 1)
    assert same(net, report.module)


def test_an_activation_that_does_not_keep_zero_is_noticed():
    net = kill(trained(nn.Sequential(conv_norm(3, 4), nn.Sigmoid(), nn.Flatten(), nn.Linear(256, 4))), {"0.0": [1]})
    assert shrink(net, X).kept_constant_channels == 1


def test_a_residual_channel_goes_only_when_all_that_feeds_it_is_dead():
    inside = kill(trained(Residual()), {"blocks.0.0.0": [3], "stem.0": [0], "blocks.0.2.0": [0]})
    report = shrink(inside, X)
    assert (report.filters_removed, report.kept_coupled_filters) == (1, 2)
    assert same(inside, report.module)

    whole = kill(inside, {"blocks.1.2.0": [0]})
    report = shrink(whole, X)
    assert (report.filters_removed, report.kept_coupled_filters) == (4, 0)
    assert report.channels["head"] == (4, 5)
    assert same(whole, report.module)


def test_a_layer_keeps_one_filter():
    net = kill(trained(flat()), {"0.0": [0, 1, 2, 3, 4, 5]})
    report = shrink(net, X)
    assert report.channels["0.0"] == (1, 3)
    assert report.kept_coupled_filters == 1
    assert same(net, report.module)


def test_a_depthwise_channel_goes_with_the_filter_before_it():
    net = kill(trained(depthwise()), {"0.0": [1, 4]})
    assert shrink(net, X).kept_constant_channels == 2  # the depthwise batch norm still emits a constant
    report = shrink(kill(net, {"2.0": [1, 4]}), X)
    assert report.channels["2.0"] == (4, 4)
    assert report.module[2][0].groups == 4
    assert same(net, report.module)


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("cnn-small", 16),
        ("resnet18", 16),
        ("preact_resnet18", 16),
        ("vgg16", 16),
        ("vgg16", 32),
        ("vgg16_bn_linear", 32),
        ("vgg16_bn_linear_avg", 16),
        ("vgg16_bn_mlp512", 16),
        ("wrn-28-4", 16),
    ],
)
def test_the_architectures(arch, size):
    options = {} if arch.startswith("cnn") else {"width": 4}
    x = torch.rand(2, 3, size, size)
    net = kill_half(trained(build(arch, num_classes=5, image_size=size, **options)), x)
    report = shrink(net, x)
    assert same(net, report.module, x)
    assert report.weights_after < 0.6 * report.weights_before
    assert report.filters_removed > 0
    if arch.startswith(("vgg", "cnn")):
        assert report.kept_coupled_filters == report.kept_constant_channels == 0


def test_a_wide_residual_network_loses_what_a_whole_stage_does_without():
    x = torch.rand(2, 3, 16, 16)
    net = trained(build("wrn-28-4", num_classes=5, width=2))
    writers = [f"block2.layer.{block}.conv2" for block in range(4)] + ["block2.layer.0.convShortcut"]
    dead = {name: [0, 3] for name in (*writers, "block2.layer.1.conv1")}
    report = shrink(kill(net, dead, norms=False, example=x), x)
    assert report.filters_removed == 0  # what batch norm makes of zero is read
    with torch.no_grad():
        for norm in ("block2.layer.1.bn1", "block2.layer.2.bn1", "block2.layer.3.bn1", "block3.layer.0.bn1"):
            net.get_parameter(f"{norm}.bias")[[0, 3]] = -9
    report = shrink(kill(net, {"block2.layer.1.conv1": [0, 3]}, example=x), x)
    assert report.filters_removed == 2 * len(writers) + 2
    assert report.channels["block3.layer.0.convShortcut"] == (32, 14)
    assert same(net, report.module, x)


def test_a_hidden_neuron_goes_with_its_batch_norm():
    x = torch.rand(2, 3, 16, 16)
    net = trained(build("vgg16_bn_mlp512", num_classes=5, image_size=16, width=2))
    report = shrink(kill(net, {"classifier.0": [1, 5, 6]}, example=x), x)
    assert report.channels == {"classifier.0": (13, 16), "classifier.1": (13, 13), "classifier.3": (5, 13)}
    assert same(net, report.module, x)


def test_a_network_with_squeeze_and_excitation():
    x = torch.rand(2, 3, 32, 32)
    net = kill_half(trained(build("timm:mobilenetv3_small_100", num_classes=5)), x)
    report = shrink(net, x)
    assert report.filters_removed > 0
    assert same(net, report.module, x)


class Odd(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x))).mean((2, 3))


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda x: x * x.shape[1], id="depends on the number of channels"),
        pytest.param(lambda x: x[:, [1, 2, 0, 3, 4, 5]], id="moves channels"),
    ],
)
def test_a_network_that_cannot_be_shrunk_exactly_is_refused(between):
    net = Odd(between).eval()
    with torch.no_grad():
        net.first.weight[:2] = net.first.bias[:2] = 0
    with pytest.raises(UserError, match="cannot shrink Odd"):
        shrink(net, X)
    assert "cannot shrink" in shrink_summary(net, X)["refused"]


class Grouped(nn.Module):
    """A channel shuffle between grouped convolutions, which is left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).mean((2, 3))


def test_channels_of_a_grouped_convolution_stay():
    net = Grouped().eval()
    with torch.no_grad():
        net.first.weight[:2] = net.first.bias[:2] = 0
    report = shrink(net, X)
    assert (report.filters_removed, report.kept_coupled_filters) == (0, 2)


def test_the_summary_is_json():
    summary = shrink_summary(kill(trained(flat()), {"0.0": [0, 2, 5]}), X)
    assert summary["filters_removed"] == 3
    assert summary["seconds_before"] > 0
    assert all(isinstance(value, int | float) for value in summary.values())


def test_resize_prepares_a_fresh_network_for_the_small_state():
    net = kill(trained(depthwise()), {"0.0": [1, 4], "2.0": [1, 4], "4.0": [0]})
    report = shrink(net, X)
    fresh = depthwise().eval()
    resize(fresh, report.channels)
    fresh.load_state_dict(report.module.state_dict())
    assert torch.equal(fresh(X), report.module(X))
    with pytest.raises(UserError, match="no layer 'nowhere'"):
        resize(fresh, {"nowhere": (1, 1)})


def test_cost():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(144, 2)).train()
    assert count_weights(net) == 4 * 27 + 2 * 144
    assert count_flops(net, X) == 2 * (36 * 4 * 27 + 2 * 144)  # 6x6 positions; a multiply-add is two
    assert latency(net, X, repetitions=3, warm_up=1) > 0
    assert net.training
