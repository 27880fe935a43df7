"""E, S and R on weights, with the numbers worked by hand."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from apx.analysis import (
    GRID,
    WeightTransform,
    normality,
    parse_transform,
    suppress_large,
    suppress_small,
    transform_weights,
)
from apx.errors import UserError

OUTLIER = torch.tensor([0.0, 0.0, 0.0, 0.0, 10.0])  # mean 2, population standard deviation 4


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))
    with torch.no_grad():
        net[1].weight.uniform_(-0.1, 0.1)
        net[1].running_mean.uniform_()
        net[1].running_var.uniform_(1, 2)
    return net


def draws(distribution: torch.distributions.Distribution) -> Tensor:
    torch.manual_seed(1)
    return distribution.sample((10_000,))


NORMAL = torch.distributions.Normal(0.0, 0.05)
LAPLACE = torch.distributions.Laplace(0.0, 0.05)


def test_e_zeroes_what_is_strictly_smaller() -> None:
    weight, small = suppress_small(torch.tensor([-0.02, 0.01, 0.005, 0.0]), 0.01)
    assert torch.equal(weight, torch.tensor([-0.02, 0.01, 0.0, 0.0]))
    assert small.tolist() == [False, False, True, True]


def test_e_of_zero_touches_nothing_even_where_a_weight_is_zero() -> None:
    weight, small = suppress_small(torch.tensor([-0.02, 0.0]), 0.0)
    assert torch.equal(weight, torch.tensor([-0.02, 0.0]))
    assert int(small.sum()) == 0


def test_s_clamps_to_standard_deviations_round_the_mean() -> None:
    weight, large = suppress_large(OUTLIER, 1.0, gate="always")
    assert weight.tolist() == [0.0, 0.0, 0.0, 0.0, 6.0]
    assert large.tolist() == [False] * 4 + [True]
    wide, none = suppress_large(OUTLIER, 9.0, gate="always")
    assert torch.equal(wide, OUTLIER)
    assert int(none.sum()) == 0


def test_s_takes_mean_and_deviation_from_before_e() -> None:
    layer = nn.Linear(5, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 1.0, 1.0, 1.0, 11.0]])  # mean 3, deviation 4; after e = 2 they are 2.2, 4.4
    changed = transform_weights(layer, WeightTransform(e=2.0, s=1.0, gate="always"))
    assert changed.state["weight"].tolist() == [[0.0, 0.0, 0.0, 0.0, 7.0]]
    assert changed.ratio == 1.0


@pytest.mark.parametrize(
    ("distribution", "gate", "clamps"),
    [
        (NORMAL, "as_code", False),
        (LAPLACE, "as_code", True),
        (NORMAL, "as_documented", True),
        (LAPLACE, "as_documented", False),
        (NORMAL, "always", True),
    ],
)
def test_the_gate_of_the_code_is_the_inverse_of_the_documented_one(
    distribution: torch.distributions.Distribution, gate: str, clamps: bool
) -> None:
    weight = draws(distribution)
    after, large = suppress_large(weight, 2.0, gate=gate)  # type: ignore[arg-type]
    assert bool(large.any()) == clamps
    assert torch.equal(after, weight) != clamps


def test_normality_tells_normal_from_laplace_draws() -> None:
    assert normality(draws(NORMAL)) > 1e-3
    assert normality(draws(LAPLACE)) < 1e-100


@pytest.mark.parametrize("weight", [torch.randn(7), torch.ones(100)])
def test_a_tensor_that_the_test_says_nothing_of_is_clamped_by_always_alone(weight: Tensor) -> None:
    assert math.isnan(normality(weight))
    for gate in ("as_code", "as_documented"):
        assert torch.equal(suppress_large(weight, 0.1, gate=gate)[0], weight)  # type: ignore[arg-type]


def test_r_stays_within_its_strength_and_is_seeded() -> None:
    layer = nn.Linear(100, 100)
    noise = WeightTransform(r=0.01)
    one, again, other = (transform_weights(layer, noise, seed=seed) for seed in (0, 0, 1))
    shift = one.state["weight"] - layer.weight.detach()
    assert float(shift.abs().max()) <= 0.01 + 1e-7
    assert abs(float(shift.mean())) < 3 * 0.01 / math.sqrt(3 * shift.numel())
    assert one.ratio == pytest.approx(1.0, abs=1e-3)
    assert torch.equal(one.state["weight"], again.state["weight"])
    assert not torch.equal(one.state["weight"], other.state["weight"])


def test_noise_comes_last_so_no_zero_is_left() -> None:
    changed = transform_weights(network(), WeightTransform(e=0.05, r=0.01))
    assert all(bool((changed.state[name] != 0).all()) for name in ("0.weight", "1.weight", "4.weight"))
    before = transform_weights(network(), WeightTransform(e=0.05)).state["4.weight"]
    assert float((changed.state["4.weight"] - before).abs().max()) <= 0.01


def test_running_statistics_and_the_network_itself_stay() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    changed = transform_weights(net, WeightTransform(e=0.05, s=1.0, r=0.1, gate="always"))
    assert changed.state.keys() == before.keys()
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(changed.state[name], before[name])
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)


def test_the_targets_are_all_weights_and_biases_or_those_of_convolution_and_linear_layers() -> None:
    net = network()
    everything = transform_weights(net, WeightTransform(e=0.05))
    convolutions = transform_weights(net, WeightTransform(e=0.05, targets="conv_linear"))
    assert everything.total - convolutions.total == 16  # gamma and beta
    assert int((everything.state["1.weight"] == 0).sum()) > 0  # whole channels die
    assert torch.equal(convolutions.state["1.weight"], net[1].weight)
    assert torch.equal(convolutions.state["0.weight"], everything.state["0.weight"])


def test_the_ratio_counts_elements_over_all_targets() -> None:
    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[-0.02, 0.01, 0.005, 0.0]])
    layer.bias.data = torch.tensor([1.0])
    changed = transform_weights(layer, WeightTransform(e=0.01))
    assert (changed.touched, changed.total) == (2, 5)
    assert changed.ratio == 0.4


def test_a_tied_parameter_changes_once_under_all_its_names() -> None:
    net = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 6, bias=False))
    net[2].weight = net[0].weight
    changed = transform_weights(net, WeightTransform(r=0.1))
    assert changed.total == 36
    assert torch.equal(changed.state["0.weight"], changed.state["2.weight"])


def test_clamped_tensors_are_named() -> None:
    layer = nn.Linear(100, 100)
    layer.weight.data = draws(LAPLACE).view(100, 100)
    layer.bias.data = draws(NORMAL)[:100]
    assert transform_weights(layer, WeightTransform(s=3.0)).clamped == ("weight",)


def test_transforms_are_read_and_written_alike() -> None:
    assert parse_transform("E=0.001") == WeightTransform(e=0.001)
    assert parse_transform("e=1e-3,R=0.01", gate="always") == WeightTransform(e=0.001, r=0.01, gate="always")
    assert all(parse_transform(one.label) == one for one in GRID)
    assert len(GRID) == 15


@pytest.mark.parametrize("text", ["", "E", "E=", "E=x", "E=nan", "T=1", "E=1,E=2", "0.001"])
def test_what_is_no_transform_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="cannot read the transform"):
        parse_transform(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "at least one of E, S and R"),
        ({"e": -0.1}, "E=-0.1"),
        ({"s": math.inf}, "S=inf"),
        ({"e": 0.1, "gate": "never"}, "as_code, as_documented, always"),
        ({"e": 0.1, "targets": "convs"}, "all, conv_linear"),
    ],
)
def test_a_transform_out_of_range_is_refused(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WeightTransform(**values)
