"""Dense, masked and shrunk: what is measured and what is said of it; nothing here depends on how fast anything is."""

import math

import pytest
import torch
from torch import nn

from apx.errors import UserError
from apx.latency import Latency, Speed, forms_of, measure_speed
from apx.masks import count_zeros


def network(*, filters: bool) -> nn.Module:
    """Return conv-relu-conv-relu-linear with three quarters of the weights zero, as whole filters or scattered."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 36, 10),
    )  # fmt: skip
    with torch.no_grad():
        for layer in (module[0], module[2]):
            layer.weight[:6] = 0 if filters else layer.weight[:6]
            if not filters:
                layer.weight[torch.rand_like(layer.weight) < 0.75] = 0
    return module


def images() -> torch.Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_forms_differ_in_zeros_and_size_and_the_network_stays_as_it_is() -> None:
    module = network(filters=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    forms, refused = forms_of(module, images())
    assert refused is None
    assert count_zeros(forms["dense"])[0] == 0
    assert count_zeros(forms["masked"]) == count_zeros(module)
    assert count_zeros(forms["shrunk"])[1] < count_zeros(module)[1]
    torch.testing.assert_close(forms["shrunk"](images()), module(images()))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_each_form_is_timed_for_each_batch_size() -> None:
    speed = measure_speed(network(filters=True), images(), batch_sizes=(1, 6), seconds=0.01, rounds=3, threads=1)
    assert [(one.form, one.batch_size) for one in speed.latencies] == [
        (form, size) for size in (1, 6) for form in ("dense", "masked", "shrunk")
    ]
    for one in speed.latencies:
        assert 0 < one.low <= one.median <= one.high
        assert one.images_per_second == pytest.approx(one.batch_size / one.median)
        assert (one.device, one.threads, one.rounds) == ("cpu", 1, 3)
        assert one.passes >= 1
    assert speed.flops["shrunk"] < speed.flops["masked"] == speed.flops["dense"]
    assert "fewer operations" in speed.sentences()[-1]


def test_scattered_zeros_leave_nothing_to_remove() -> None:
    speed = measure_speed(network(filters=False), images(), batch_sizes=(2,), seconds=0.01, rounds=2)
    assert {one.form for one in speed.latencies} == {"dense", "masked"}
    assert speed.sentences()[-1] == "no filter is dead, so nothing can be removed physically"


def test_a_network_that_cannot_be_traced_is_timed_masked_and_the_reason_is_said() -> None:
    class Odd(nn.Module):  # what it computes depends on the number of channels
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = network(filters=True)[0], nn.Conv2d(8, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            return self.second(y * y.shape[1]).mean(dim=(2, 3))

    speed = measure_speed(Odd(), images(), batch_sizes=(1,), seconds=0.01, rounds=2)
    assert speed.refused is not None
    assert speed.sentences()[-1] == f"no shrunk form: {speed.refused}"


def made(masked: tuple[float, float, float], dense: tuple[float, float, float]) -> Speed:
    latencies = tuple(
        Latency(form, "cpu", 1, 1, median, low, high, 5, 10)
        for form, (low, median, high) in (("dense", dense), ("masked", masked))
    )
    return Speed({"dense": 9, "masked": 9}, {"dense": 8, "masked": 8}, 0.9, latencies, None)


def test_zeros_count_as_faster_only_beyond_the_spread() -> None:
    same = made((0.9, 0.99, 1.0), (0.95, 1.0, 1.1))
    assert "90.0% zeros do not make it faster: it is 1.01 times as fast" in same.sentences()[0]
    faster = made((0.4, 0.5, 0.6), (0.95, 1.0, 1.1))
    assert "90.0% zeros make it faster: it is 2.00 times as fast" in faster.sentences()[0]
    assert math.isclose(faster.ratio("masked", "dense", 1, "cpu"), 2.0)


@pytest.mark.parametrize("wrong", [{"batch_sizes": (0,)}, {"rounds": 0}, {"seconds": 0.0}])
def test_what_cannot_be_measured_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match="at least 1"):
        measure_speed(network(filters=True), images(), **wrong)
