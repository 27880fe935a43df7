"""Feature shift, the four rates, rounding and the sweep, on a network trained on the digits for a second."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from apx import builtin
from apx.analysis import (
    Attack,
    WeightTransform,
    analyse_layers,
    craft,
    feature_maps,
    feature_shift,
    four_rates,
    predict,
    rates_on,
    round_towards,
    rounded,
    sweep,
    taps,
    transfer,
    white_box,
)
from apx.architectures import build
from apx.attacks import project
from apx.datasets import load_dataset, to_float
from apx.errors import UserError
from apx.evaluation import evaluate
from apx.evaluation.samples import Samples, draw

EPS = 0.15


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """Return a small convolutional network that knows the digits and was never attacked."""
    data = load_dataset("digits")
    x, y = to_float(data.train.images), data.train.labels
    torch.manual_seed(0)
    net = build("cnn-small", num_classes=10, image_size=16, width=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(60):
        rows = torch.arange(step * 200, step * 200 + 200) % len(y)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net.eval()


@pytest.fixture(scope="module")
def samples() -> Samples:
    return draw(load_dataset("digits").test, 100)


def images(samples: Samples) -> Tensor:
    return samples.images.float() / 255


# -- the four rates ----------------------------------------------------------------------------------------------


def test_the_rates_of_five_images() -> None:
    y, c, a = (torch.tensor(v) for v in ([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 1, 2, 0, 1]))
    rates = four_rates(y, c, a)
    assert (rates.n, rates.clean_accuracy, rates.remnant_accuracy) == (5, 0.8, 0.6)
    assert (rates.prediction_change_rate, rates.strict_attack_success_rate) == (0.6, 0.5)
    became_right = rates.remnant_accuracy - rates.clean_accuracy * (1 - rates.strict_attack_success_rate)
    assert became_right == pytest.approx(0.2)


def test_without_a_clean_correct_image_the_strict_success_rate_is_zero() -> None:
    rates = four_rates(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([2, 0]))
    assert rates.strict_attack_success_rate == 0.0
    assert rates.remnant_accuracy == 0.5


# The 17 published rows on 1,000 images, the two columns that were swapped put right: CA, RA, SASR, PCR in percent.
PUBLISHED = [
    (91.8, 0.2, 99.78, 94.8),
    (91.2, 0.2, 99.78, 95.2),
    (91.8, 0.2, 99.78, 94.8),
    (91.8, 0.2, 99.78, 94.8),
    (92.0, 0.2, 99.78, 94.9),
    (92.0, 0.2, 99.78, 95.5),
    (92.5, 0.2, 99.78, 95.4),
    (90.7, 0.2, 99.78, 94.7),
    (37.1, 0.1, 99.73, 72.7),
    (0.1, 0.1, 0.00, 0.1),
    (91.8, 0.2, 99.78, 95.2),
    (91.7, 0.2, 99.78, 94.5),
    (85.9, 32.6, 63.56, 66.2),
    (23.5, 7.2, 76.17, 78.6),
    (91.9, 34.2, 63.44, 65.1),
    (87.1, 30.6, 66.13, 68.7),
    (0.2, 0.1, 50.00, 45.0),
]


@pytest.mark.parametrize("row", PUBLISHED)
def test_each_published_row_is_that_of_a_possible_outcome_of_1000_images(row: tuple[float, ...]) -> None:
    clean, remnant, strict, change = row
    correct, right, changed = (round(10 * value) for value in (clean, remnant, change))
    broken = round(correct * strict / 100)
    gained = right - (correct - broken)
    flipped = changed - broken - gained  # from one wrong class to another
    assert min(gained, flipped, 1000 - correct - gained - flipped) >= 0
    y = torch.zeros(1000, dtype=torch.int64)
    c = torch.ones_like(y)
    c[:correct] = 0
    a = c.clone()
    a[:broken] = 1
    a[correct : correct + gained] = 0
    a[correct + gained : correct + gained + flipped] = 2
    rates = four_rates(y, c, a)
    assert rates.clean_accuracy == pytest.approx(clean / 100)
    assert rates.remnant_accuracy == pytest.approx(remnant / 100)
    assert rates.prediction_change_rate == pytest.approx(change / 100)
    assert rates.strict_attack_success_rate == pytest.approx(strict / 100, abs=5.1e-5)


def test_predictions_of_other_shapes_are_refused() -> None:
    one, two = torch.zeros(1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    for arguments in ((one, one, two), (two, one, two), (one[:0], one[:0], one[:0])):
        with pytest.raises(UserError, match="one shape"):
            four_rates(*arguments)


# -- examples ----------------------------------------------------------------------------------------------------


def test_the_rates_agree_with_the_evaluation(trained: nn.Module, samples: Samples) -> None:
    rates = white_box(trained, samples, Attack(EPS, steps=5), batch_size=64)
    document = evaluate(trained, load_dataset("digits").test, attack="pgd", eps=EPS, steps=5, n=100)
    assert rates.clean_accuracy == document["clean_accuracy"]["value"] > 0.85
    robust = rates.clean_accuracy * (1 - rates.strict_attack_success_rate)
    assert robust == pytest.approx(document["robust_accuracy"]["value"])
    assert robust < 0.7 * rates.clean_accuracy


def test_eps_zero_changes_nothing(trained: nn.Module, samples: Samples) -> None:
    x_adv = craft(trained, samples, Attack(0.0, steps=2))
    assert torch.equal(x_adv, images(samples))
    rates = rates_on(trained, samples, x_adv)
    assert (rates.prediction_change_rate, rates.strict_attack_success_rate) == (0.0, 0.0)
    assert rates.remnant_accuracy == rates.clean_accuracy
    shift = feature_shift(trained, [(images(samples), x_adv)])
    assert all(layer.max_abs == layer.mean_abs == layer.relative == layer.above == 0 for layer in shift.layers)


def test_examples_depend_on_the_sample_and_not_on_its_batch(trained: nn.Module, samples: Samples) -> None:
    one, other = (craft(trained, samples, Attack(EPS, steps=2), batch_size=size) for size in (7, 100))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["clean", "fgsm"])
def test_other_attacks_are_taken_by_name(trained: nn.Module, samples: Samples, name: str) -> None:
    expected = builtin.apx_attacks()[name](trained, images(samples), samples.labels, eps=0.05)
    torch.testing.assert_close(craft(trained, samples, Attack(0.05, name)), expected)


def test_a_plugins_attack_gets_what_it_takes(
    trained: nn.Module, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mine(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, indices: Tensor) -> Tensor:
        return project(x + eps * (indices % 2).view(-1, 1, 1, 1), x, eps)

    monkeypatch.setattr("apx.registry.attacks", lambda: {"mine": mine})
    x_adv = craft(trained, samples, Attack(0.1, "mine"), batch_size=30)
    odd = samples.indices % 2 == 1
    assert torch.equal(x_adv[~odd], images(samples)[~odd])
    assert float((x_adv - images(samples))[odd].max()) == pytest.approx(0.1)


def test_an_attack_that_leaves_the_ball_is_refused(
    trained: nn.Module, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apx.registry.attacks", lambda: {"wild": lambda model, x, y, *, eps: x + 2 * eps})
    with pytest.raises(UserError, match="'wild' left the threat model"):
        craft(trained, samples, Attack(0.1, "wild"))


def test_the_network_is_left_as_it_was(trained: nn.Module, samples: Samples) -> None:
    trained.train()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    analyse_layers(trained, samples, Attack(EPS, steps=1), decimals=1, transforms=[WeightTransform(e=0.01)])
    assert torch.equal(torch.rand(2), expected)
    assert trained.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in trained.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in trained.modules())
    trained.eval()


def test_rounding_goes_towards_the_image() -> None:
    levels = torch.tensor([0, 100, 100, 250, 255])
    x = levels / 255
    x_adv = (x + 0.03 * torch.tensor([1, 1, -1, 1, -1])).clamp(0, 1)  # 0.03 is 7.65 levels
    assert torch.equal(round_towards(x_adv, x), (levels + torch.tensor([7, 7, -7, 5, -7])) / 255)
    assert float(((x_adv * 255).round() / 255 - x).abs().max()) > 0.031  # what rounding to the nearest level does


def test_rounding_leaves_whole_levels_alone(samples: Samples) -> None:
    x = images(samples)
    for sign in (-1, 1):
        x_adv = project(x + sign * 8 / 255, x, 8 / 255)
        torch.testing.assert_close(round_towards(x_adv, x), x_adv, rtol=0, atol=1e-6)
    assert torch.equal(round_towards(x, x), x)


def test_rounded_examples_are_8_bit_images_within_eps(trained: nn.Module, samples: Samples) -> None:
    x_adv = craft(trained, samples, Attack(0.03, steps=2, rounded=True))
    assert float((x_adv * 255 - (x_adv * 255).round()).abs().max()) < 1e-4
    assert float((x_adv - images(samples)).abs().max()) == pytest.approx(7 / 255, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"eps": 8.0}, "eps 8"), ({"steps": 0}, "0 steps"), ({"alpha": 0.0}, "alpha"), ({"seed": -1}, "seed -1")],
)
def test_an_attack_out_of_range_is_refused(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Attack(**{"eps": 0.1, **values})


# -- taps --------------------------------------------------------------------------------------------------------

BLOCKS = {
    "resnet18": ["conv1", "bn1", *(f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)), "logits"],
    "preact_resnet18": ["conv1", *(f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)), "bn", "logits"],
    "wrn-28-4": ["conv1", *(f"block{s}.layer.{b}" for s in (1, 2, 3) for b in (0, 1, 2, 3)), "bn1", "logits"],
    "cnn-small": ["0", "1", "3", "6", "logits"],
}


@pytest.mark.parametrize("arch", BLOCKS)
def test_the_taps_are_the_first_convolution_every_block_and_the_logits(arch: str) -> None:
    net = build(arch, num_classes=10, image_size=16, width=2)
    assert list(feature_maps(net, torch.rand(2, 3, 16, 16))) == BLOCKS[arch]


def test_a_vgg_has_one_tap_per_convolution_and_its_pool() -> None:
    net = build("vgg16", num_classes=10, image_size=16, width=2)
    kinds = [type(layer).__name__ for name, layer in taps(net).items() if name.startswith("features.")]
    two, three = ["ReLU", "MaxPool2d"], ["ReLU", "ReLU", "MaxPool2d"]
    assert kinds == ["Conv2d", *two, *two, *three, *three, "ReLU", "ReLU", "ReLU"]


def test_a_wrapped_network_has_the_taps_of_the_network() -> None:
    class Wrapper(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(2 * x - 1)

    net = build("resnet18", num_classes=10, image_size=16, width=2)
    maps = feature_maps(Wrapper(net), torch.rand(2, 3, 16, 16))
    assert list(maps) == [f"net.{name}" for name in BLOCKS["resnet18"][:-1]] + ["logits"]


def test_an_in_place_layer_does_not_change_what_was_recorded() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3))
    maps = feature_maps(net, torch.rand(4, 1, 4, 4))
    assert list(maps) == ["0", "1", "logits"]
    assert bool((maps["0"] < 0).any())
    assert torch.equal(maps["0"].relu(), maps["1"])


def test_a_module_that_runs_twice_has_two_taps() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(self.layer(x.flatten(1))))

    x = torch.rand(3, 1, 2, 2)
    net = Twice()
    maps = feature_maps(net, x)
    assert list(maps) == ["layer", "layer#2", "logits"]
    assert torch.equal(maps["layer#2"], net.layer(maps["layer"]))


def test_activations_are_rounded_at_every_tap(trained: nn.Module, samples: Samples) -> None:
    with rounded(trained, 1):
        maps = feature_maps(trained, images(samples))
    assert all(torch.allclose(values * 10, (values * 10).round(), atol=1e-4) for values in maps.values())
    plain = feature_maps(trained, images(samples))
    assert list(plain) == list(maps)
    assert not torch.equal(plain["logits"], maps["logits"])


# -- shift -------------------------------------------------------------------------------------------------------


def batches(x: Tensor, x_adv: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(x.split(size), x_adv.split(size), strict=True)


@pytest.fixture(scope="module")
def attacked(trained: nn.Module, samples: Samples) -> tuple[Tensor, Tensor]:
    return images(samples), craft(trained, samples, Attack(EPS, steps=5))


def test_the_logits_tap_is_the_difference_of_the_outputs(trained: nn.Module, attacked: tuple[Tensor, Tensor]) -> None:
    x, x_adv = attacked
    with torch.no_grad():
        clean, moved = trained(x), trained(x_adv)
    d = (moved - clean).double()
    layer = feature_shift(trained, [attacked], threshold=1.0).layers[-1]
    assert (layer.layer, layer.shape) == ("logits", (10,))
    assert layer.mean_abs == pytest.approx(float(d.abs().mean()))
    assert layer.max_abs == pytest.approx(float(d.abs().max()))
    assert layer.relative == pytest.approx(float(d.norm() / clean.double().norm()))
    assert layer.above == float((d.abs() > 1.0).double().mean())
    for moments, values in ((layer.clean, clean), (layer.adversarial, moved)):
        z = (values.double() - values.double().mean()) / values.double().std(correction=0)
        assert moments.mean == pytest.approx(float(values.mean()), abs=1e-5)
        assert moments.std == pytest.approx(float(values.std(correction=0)), rel=1e-5)
        assert moments.kurtosis == pytest.approx(float(z.pow(4).mean()), rel=1e-5)


def test_the_shift_does_not_depend_on_the_batches(trained: nn.Module, attacked: tuple[Tensor, Tensor]) -> None:
    one, other = (feature_shift(trained, batches(*attacked, size)) for size in (9, 100))
    for first, second in zip(one.layers, other.layers, strict=True):
        assert first.relative == pytest.approx(second.relative, rel=1e-4)
        assert first.clean.kurtosis == pytest.approx(second.clean.kurtosis, rel=1e-4)


def test_the_drift_grows_from_the_image_to_the_logits(trained: nn.Module, attacked: tuple[Tensor, Tensor]) -> None:
    x, x_adv = attacked
    image = float((x_adv - x).norm() / x.norm())
    relative = [layer.relative for layer in feature_shift(trained, [attacked]).layers]
    assert relative[-1] > 1.5 * relative[0]
    assert relative[-1] > 1.5 * image


def test_an_attack_moves_features_further_than_noise_of_its_size(
    trained: nn.Module, attacked: tuple[Tensor, Tensor]
) -> None:
    x, _ = attacked
    torch.manual_seed(0)
    noise = project(x + EPS * torch.randn_like(x).sign(), x, EPS)
    by_attack, by_noise = (feature_shift(trained, [(x, moved)]).layers[-1] for moved in (attacked[1], noise))
    assert by_attack.relative > 1.5 * by_noise.relative


def test_the_first_convolution_is_told_channel_by_channel(trained: nn.Module, attacked: tuple[Tensor, Tensor]) -> None:
    shift = feature_shift(trained, batches(*attacked, 30))
    clean, moved = (feature_maps(trained, x)["0"] for x in attacked)
    assert shift.stem == "0"
    assert len(shift.channels) == 4
    for number, channel in enumerate(shift.channels):
        for name, values in (("difference", moved - clean), ("clean", clean), ("adversarial", moved)):
            own = values[:, number]
            expected = {"min": own.min(), "max": own.max(), "mean": own.mean(), "std": own.std(correction=0)}
            for statistic, value in expected.items():
                assert channel[name][statistic] == pytest.approx(float(value), abs=1e-5)


def test_a_network_without_convolutions_has_no_channels() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.rand(5, 1, 2, 2)
    shift = feature_shift(net, [(x, x)])
    assert (shift.stem, shift.channels) == (None, ())
    assert [layer.layer for layer in shift.layers] == ["2", "logits"]


def test_constant_features_have_no_kurtosis_and_no_relative_shift() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    nn.init.zeros_(net[0].weight)
    nn.init.constant_(net[0].bias, -1.0)
    stem, block, _ = feature_shift(net, [(torch.rand(4, 1, 2, 2), torch.rand(4, 1, 2, 2))]).layers
    assert (stem.clean.mean, stem.clean.std, stem.clean.kurtosis, stem.relative) == (-1.0, 0.0, None, 0.0)
    assert (block.clean.kurtosis, block.relative) == (None, None)


def test_nothing_to_compare_is_refused(trained: nn.Module, attacked: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UserError, match="no images"):
        feature_shift(trained, [])
    with pytest.raises(UserError, match="threshold -1"):
        feature_shift(trained, [attacked], threshold=-1.0)


# -- sweep -------------------------------------------------------------------------------------------------------


def test_a_sweep_attacks_the_transformed_networks(trained: nn.Module, samples: Samples) -> None:
    attack = Attack(EPS, steps=3)
    transforms = [WeightTransform(e=1e-4), WeightTransform(e=10.0), WeightTransform(r=0.1)]
    small, dead, noisy = sweep(trained, samples, transforms, attack, seeds=(4, 5, 6))
    plain = white_box(trained, samples, attack)
    assert small.rates[0].clean_accuracy == pytest.approx(plain.clean_accuracy, abs=0.02)
    assert small.rates[0].remnant_accuracy == pytest.approx(plain.remnant_accuracy, abs=0.05)
    assert (small.seeds, noisy.seeds) == ((4,), (4, 5, 6))
    assert dead.ratio == 1.0
    assert dead.rates[0].prediction_change_rate == 0.0  # all weights are zero: one class whatever the image
    mean, low, high = noisy.summary()["clean_accuracy"]
    assert low < mean < high
    assert math.isclose(mean, sum(rates.clean_accuracy for rates in noisy.rates) / 3)


def test_transfer_to_the_same_network_is_the_white_box_attack(trained: nn.Module, samples: Samples) -> None:
    attack = Attack(EPS, steps=3)
    assert transfer(trained, trained, samples, attack) == white_box(trained, samples, attack)


def test_transfer_is_told_by_the_target_and_weaker_than_its_own_attack(trained: nn.Module, samples: Samples) -> None:
    other = build("cnn-small", num_classes=10, image_size=16, width=4)
    attack = Attack(EPS, steps=3)
    carried = transfer(other, trained, samples, attack)
    own = white_box(trained, samples, attack)
    assert carried.clean_accuracy == own.clean_accuracy
    assert carried.remnant_accuracy > own.remnant_accuracy


def test_the_document_of_a_whole_analysis(trained: nn.Module, samples: Samples) -> None:
    attack = Attack(EPS, steps=3)
    transforms = [WeightTransform(e=0.001), WeightTransform(r=0.01)]
    found = analyse_layers(trained, samples, attack, decimals=2, transforms=transforms, seeds=(0, 1))
    assert found["images"] == 100
    assert found["attack"]["alpha"] == EPS / 4
    assert found["largest_change"] == pytest.approx(EPS)
    assert [layer["layer"] for layer in found["layers"]] == BLOCKS["cnn-small"]
    assert [row["transform"] and row["transform"]["label"] for row in found["transforms"]] == [
        None,
        "E=0.001",
        "R=0.01",
    ]
    assert found["transforms"][0]["rates"] == [found["rates"]]
    assert len(found["transforms"][2]["rates"]) == 2
    # rounding inside the network does not stop an attack that was made without it
    assert found["rates_rounded"]["remnant_accuracy"] == pytest.approx(found["rates"]["remnant_accuracy"], abs=0.03)
    assert analyse_layers(trained, samples, attack)["transforms"] == []


def test_predictions_are_those_of_eval_mode(samples: Samples) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(768, 10)).train()
    with torch.no_grad():
        expected = net.eval()(images(samples)).argmax(1)
    net.train()
    assert torch.equal(predict(net, samples, batch_size=33), expected)
    assert net.training
