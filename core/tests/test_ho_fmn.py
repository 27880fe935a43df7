import itertools
import json
import math

import pytest
import torch
from torch import Tensor, nn

from apx.errors import UserError
from apx.evaluation.ho_fmn import SEARCH, Configuration, Trial, Tuned, combinations, configured_fmn, tune
from apx.evaluation.plateau import Plateau

from .small_models import unbiased as linear

# On 2x2 images: z = (x0 + x1, x2 + x3, 0). The Linf distance to the boundary is (z_0 - z_1) / 4, that in L2 twice that.
NEAR, FAR, WRONG = (0.6, 0.6, 0.5, 0.5), (0.9, 0.9, 0.1, 0.1), (0.2, 0.2, 0.8, 0.8)
IMAGES = torch.tensor([NEAR, FAR, WRONG]).view(3, 1, 2, 2)
LABELS = torch.tensor([0, 0, 0])
NORMS = ("L0", "L1", "L2", "Linf")
OPTIMIZERS = ("SGD", "Adam", "Adamax")


def random_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 5))


def random_samples(net: nn.Module, n: int = 16, seed: int = 1) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, 256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).float() / 255
    with torch.no_grad():
        y = net.eval()(x).argmax(dim=1)
    y[0] = (y[0] + 1) % 5
    return x, y


class Recorder(nn.Module):
    """Never errs, whatever the image; its gradient is 1 in every pixel. Remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        total = x.flatten(1).sum(dim=1, keepdim=True)
        return torch.cat([10.0 + total, torch.zeros(len(x), 2)], dim=1)


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).repeat(len(x), 1)


def step_sizes(configuration: Configuration, steps: int) -> list[float]:
    recorder = Recorder()
    x = torch.ones(1, 1, 2, 2)
    configured_fmn(recorder, x, torch.tensor([0]), norm="Linf", steps=steps, configuration=configuration)
    places = [seen[0, 0, 0, 0].item() for seen in recorder.seen[: steps + 1]]
    return [before - after for before, after in itertools.pairwise(places)]


@pytest.mark.parametrize(
    ("loss", "optimizer", "scheduler"),
    [
        *((loss, optimizer, "CALR") for loss in ("LL", "CE", "DLR") for optimizer in OPTIMIZERS),
        ("LL", "SGD", "RLROP"),
        ("LL", "SGD", None),
    ],
)
def test_the_linear_net_has_the_known_distances(loss, optimizer, scheduler):
    configuration = Configuration(loss=loss, optimizer=optimizer, scheduler=scheduler, patience=10)
    found = configured_fmn(linear(), IMAGES, LABELS, norm="Linf", steps=100, configuration=configuration)
    assert found.distances.tolist() == pytest.approx([0.05, 0.40, 0.0], rel=0, abs=1e-3)
    assert (found.distances >= torch.tensor([0.05, 0.40, 0.0]) - 1e-6).all()


@pytest.mark.parametrize(("norm", "distances"), [("Linf", (0.05, 0.4, 0.0)), ("L2", (0.1, 0.8, 0.0))])
def test_the_default_configuration_comes_as_near_as_published(norm, distances):
    found = configured_fmn(linear(), IMAGES, LABELS, norm=norm, steps=100, configuration=Configuration())
    assert found.distances.tolist() == pytest.approx(distances, rel=0, abs=5e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_reported_distance_is_the_norm_of_what_is_returned(optimizer, norm):
    net = random_net()
    x, y = random_samples(net)
    configuration = Configuration(optimizer=optimizer, scheduler="RLROP")
    found = configured_fmn(net, x, y, norm=norm, steps=20, configuration=configuration)
    order = {"L0": 0, "L1": 1, "L2": 2, "Linf": math.inf}[norm]
    assert torch.equal(found.distances, torch.linalg.vector_norm((found.x_adv - x).flatten(1), ord=order, dim=1))
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1
    with torch.no_grad():
        assert (net.eval()(found.x_adv).argmax(dim=1) != y).all()
    assert found.distances[0] == 0


def test_a_net_blind_to_its_input_is_infinitely_far_unless_it_is_wrong():
    x, y = torch.full((2, 1, 3, 3), 0.5), torch.tensor([0, 1])
    found = configured_fmn(Constant(), x, y, norm="Linf", steps=5, configuration=Configuration())
    assert found.distances.tolist() == [math.inf, 0.0]
    assert torch.equal(found.x_adv, x)


def test_cosine_annealing_has_the_known_step_sizes():
    sizes = step_sizes(Configuration(lr=0.01, scheduler="CALR"), steps=100)
    assert [sizes[i] / 0.01 for i in (0, 50, 99)] == pytest.approx([1.0, 0.505, 0.0102], abs=1e-3)
    assert step_sizes(Configuration(lr=0.01, scheduler="CALR", eta_min=0.0), steps=100)[99] < 1e-5


def test_without_a_scheduler_the_step_size_stays():
    assert step_sizes(Configuration(lr=0.01, scheduler=None), steps=10) == pytest.approx([0.01] * 10, abs=1e-6)


def test_plateaus_lower_the_steps_of_the_sample_that_is_on_one():
    plateau = Plateau(2, lr=0.1, factor=0.5, patience=2, threshold=1e-4, device=torch.device("cpu"))
    for improving in (3.0, 2.0, 1.0, -1.0, -2.0):
        plateau.step(torch.tensor([improving, -1.0]))
    assert plateau.rates.tolist() == pytest.approx([0.1, 0.05])
    assert plateau.scale.tolist() == pytest.approx([1.0, 0.5])


def test_a_slightly_worse_negative_loss_is_no_progress():
    plateau = Plateau(1, lr=1.0, factor=0.5, patience=0, threshold=1e-2, device=torch.device("cpu"))
    plateau.step(torch.tensor([-1.0]))
    plateau.step(torch.tensor([-0.995]))
    assert plateau.rates.item() == 0.5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_plateaus_act_and_each_sample_has_its_own(optimizer):
    net = random_net()
    x, y = random_samples(net)

    def distances(images: Tensor, labels: Tensor, **more: float) -> Tensor:
        configuration = Configuration(optimizer=optimizer, scheduler="RLROP", lr=0.03, **more)
        return configured_fmn(net, images, labels, norm="Linf", steps=30, configuration=configuration).distances

    patient, hasty = distances(x, y, patience=100), distances(x, y, patience=2, factor=0.1)
    assert not torch.equal(patient, hasty)
    alone = torch.cat([distances(x[i : i + 1], y[i : i + 1], patience=2, factor=0.1) for i in range(4)])
    assert torch.allclose(alone, hasty[:4], atol=1e-5)


def test_plateaus_are_inert_with_the_published_code():
    net = random_net()
    x, y = random_samples(net)
    found = [
        configured_fmn(
            net,
            x,
            y,
            norm="Linf",
            steps=20,
            configuration=Configuration(scheduler=scheduler, patience=2),
            fidelity="official",
        ).distances
        for scheduler in ("RLROP", None)
    ]
    assert torch.equal(*found)


def test_small_steps_in_l2_stay_inside_the_ball_but_not_with_the_published_code():
    configuration = Configuration(lr=0.02)
    fair, official = (
        configured_fmn(
            linear(), IMAGES[:1], LABELS[:1], norm="L2", steps=10, configuration=configuration, fidelity=fidelity
        )
        for fidelity in ("apx", "official")
    )
    assert fair.distances.item() < 0.13
    assert official.distances.item() > 0.5


def test_more_steps_come_no_less_near_on_the_linear_net():
    tries = [
        configured_fmn(linear(), IMAGES, LABELS, norm="Linf", steps=s, configuration=Configuration()).distances
        for s in (5, 10, 20, 50, 100, 200)
    ]
    for fewer, more in itertools.pairwise(tries):
        assert (more <= fewer * (1 + 1e-3)).all()  # the radius changes by a thousandth at the end


def test_the_model_is_left_as_it_was_and_no_random_state_is_touched():
    net = random_net()
    x, y = random_samples(net)
    net.train()
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    first, second = (
        configured_fmn(net, x, y, norm="L2", steps=10, configuration=Configuration(optimizer="Adam")) for _ in range(2)
    )
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.x_adv, second.x_adv)


@pytest.mark.parametrize(("loss", "optimizer", "scheduler"), combinations())
def test_a_configuration_survives_json(loss, optimizer, scheduler):
    configuration = Configuration(loss=loss, optimizer=optimizer, scheduler=scheduler, lr=0.123456789)
    again = Configuration.from_dict(json.loads(json.dumps(configuration.as_dict())))
    assert again == configuration
    assert set(SEARCH[optimizer]) <= set(configuration.as_dict())


def test_there_are_twenty_seven_combinations():
    assert len(set(combinations())) == 27


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"loss": "MSE"}, "unknown loss 'MSE'"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        ({"scheduler": "cosine"}, "unknown scheduler 'cosine'"),
        ({"lr": -1.0}, "hyperparameter lr of FMN is -1.0"),
        ({"beta1": 1.0}, "beta1"),
        ({"factor": 1.0}, "factor"),
        ({"learning_rate": 1.0}, "unknown hyperparameter of FMN 'learning_rate'"),
    ],
)
def test_mistakes_in_a_configuration_are_named(values, sentence):
    with pytest.raises(UserError, match=sentence):
        Configuration.from_dict(values)


def test_dlr_needs_three_classes():
    two = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UserError, match="at least 3 classes"):
        configured_fmn(two, IMAGES, LABELS, norm="Linf", steps=2, configuration=Configuration(loss="DLR"))


TRIALS = 12  # 8 points of the Sobol sequence, four of the Gaussian process


@pytest.fixture(scope="module")
def whole() -> Tuned:
    return search(random_net())


def search(net: nn.Module, **more) -> Tuned:
    names = {"norm": "Linf", "loss": "LL", "optimizer": "SGD", "scheduler": "CALR"}
    options = {**names, "trials": TRIALS, "steps": 5, "seed": 3, **more}
    return tune(net, *random_samples(net, seed=100), **options)


def test_the_same_seed_finds_the_same_configuration_and_another_does_not(whole):
    net = random_net()
    state = torch.get_rng_state()
    assert search(net) == whole
    assert torch.equal(state, torch.get_rng_state())
    assert search(net, seed=4, trials=3).trials != whole.trials[:3]


@pytest.mark.parametrize("finished", [3, 9, 12])
def test_a_resumed_search_goes_on_as_if_it_had_not_stopped(whole, finished):
    stored = json.loads(json.dumps([trial.as_dict() for trial in whole.trials[:finished]]))
    told: list[Trial] = []
    done = [Trial.from_dict(trial) for trial in stored]
    assert search(random_net(), done=done, on_trial=told.append) == whole
    assert tuple(told) == whole.trials[finished:]


def test_the_nearest_is_taken_and_its_distance_is_reached_again_on_the_same_images(whole):
    assert whole.distance == min(trial.distance for trial in whole.trials)
    net = random_net()
    again = configured_fmn(
        net, *random_samples(net, seed=100), norm="Linf", steps=5, configuration=whole.configuration
    ).distances
    assert whole.distance == float(torch.where(again == 0, math.inf, again).median())
    assert whole.as_dict()["configuration"] == whole.configuration.as_dict()
    json.dumps(whole.as_dict(), allow_nan=False)


@pytest.mark.parametrize(("optimizer", "scheduler"), [("SGD", "RLROP"), ("Adam", None), ("Adamax", "CALR")])
def test_what_is_searched_stays_in_its_bounds(optimizer, scheduler):
    tuned = search(random_net(), optimizer=optimizer, scheduler=scheduler, trials=9, steps=2)
    for trial in tuned.trials:
        values = trial.configuration.as_dict()
        assert 8 / 255 <= values["lr"] <= 10
        assert 0.01 <= values["weight_decay"] <= 1
        assert scheduler != "CALR" or values["eta_min"] == 0
        assert scheduler != "RLROP" or (values["patience"] in {2, 5, 10} and 0.1 <= values["factor"] <= 0.5)
    assert len({trial.configuration for trial in tuned.trials}) == 9


def test_a_batch_on_which_nothing_is_found_is_infinitely_bad():
    names = {"norm": "Linf", "loss": "LL", "optimizer": "SGD", "scheduler": None}
    tuned = tune(Constant(), torch.full((2, 1, 3, 3), 0.5), torch.tensor([0, 1]), **names, trials=9, steps=2)
    assert tuned.distance == math.inf
    assert tuned.as_dict()["distance"] is None


@pytest.mark.parametrize("change", [{"trials": 0}, {"done": [Trial(0, Configuration(optimizer="Adam"), 0.1)]}])
def test_a_search_that_cannot_be_is_refused(change):
    with pytest.raises(UserError):
        search(random_net(), **change)
