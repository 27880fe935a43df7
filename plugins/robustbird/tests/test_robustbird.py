"""RobustBird against its acceptance invariants: the detector, exact counts, no rewinding, a fresh optimiser."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apx import MaskedModel, Observer, build
from apx.masks import count_zeros, weight_names
from apx.runner.progress import Quiet
from apx.runner.request import Request, build_settings
from apx.specifics import Magnitude, masks_by
from apx.training.optimisation import learning_rate
from apx_robustbird.method import EarlyBird, RobustBird, RobustBirdSettings, detector_mask, mask_distance

Maker = Callable[..., Any]
ONE_TO_TEN = torch.arange(1.0, 11.0)
FAST = {f"{phase}.batch_size": 8 for phase in ("early_bird", "train")} | {"train.steps": 1}
FAST |= {"early_bird.epochs": 6, "train.epochs": 2}
SGD = {f"train.{name}": value for name, value in {"optimizer": "sgd", "lr": 0.1, "lr_schedule": "step"}.items()}
SGD |= {"train.momentum": 0.9, "train.weight_decay": 5e-4}


class Seen(Observer):
    """Keeps states at the borders of phases, epochs' records and the digest of the masks after each step."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.records: list[Mapping[str, Any]] = []
        self.digests: dict[str, set[str]] = {}
        self.leaks = 0

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:start"] = {n: t.clone() for n, t in model.module.state_dict().items()}

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        self.states[f"{phase}:end"] = {n: t.clone() for n, t in model.module.state_dict().items()}

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.digests.setdefault(phase, set()).add(model.masks.digest())
        self.leaks += sum(int((model.fold(name) * ~mask).count_nonzero()) for name, mask in model.masks.items())

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)

    def epochs(self, phase: str) -> int:
        return sum(record["phase"] == phase for record in self.records)


class Notes(Quiet):
    """Keeps the lines shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


# -- invariant 1: detector and pruner count differently -----------------------------------------------------------


def test_the_detector_keeps_the_largest_of_ten_and_the_pruner_two(trial: Maker) -> None:
    assert detector_mask(ONE_TO_TEN, 0.8).nonzero().flatten().tolist() == [9]
    model = MaskedModel(nn.Sequential(nn.Linear(5, 2, bias=False)))
    with torch.no_grad():
        model.module.get_parameter("0.weight").copy_(-ONE_TO_TEN.view(2, 5))
    run = trial("robustbird").run
    with run.targeting(0.8):
        masks = masks_by(Magnitude(), model, run)
    assert masks["0.weight"].flatten().nonzero().flatten().tolist() == [8, 9]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.95])
def test_the_detector_counts_as_published(sparsity: float) -> None:
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert int(detector_mask(weights, sparsity).sum()) == 1000 - int(round(sparsity * 1000, 9)) - 1


# -- invariants 2 to 4: emergence and distance --------------------------------------------------------------------


def test_constant_weights_emerge_at_the_fifth_epoch() -> None:
    detector = EarlyBird(0.8)
    assert [detector.observe(ONE_TO_TEN) for _ in range(5)] == [False] * 4 + [True]
    assert detector.distances() == [0.0] * 4


def test_a_swap_at_the_top_undoes_emergence() -> None:
    detector = EarlyBird(0.8)
    for _ in range(5):
        detector.observe(ONE_TO_TEN)
    assert not detector.observe(ONE_TO_TEN.roll(1))
    assert detector.distances() == pytest.approx([0.2] * 4)


def test_a_distance_at_the_threshold_is_near_enough() -> None:
    detector, weights = EarlyBird(0.75, window=2, threshold=0.25), torch.arange(1.0, 9.0)
    assert not detector.observe(weights)
    assert detector.observe(weights.roll(1))
    assert detector.distances() == [0.25]


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_distance_is_a_metric_that_shrinks_with_density(sparsity: float) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        a, b = (detector_mask(torch.randn(400, generator=generator), sparsity) for _ in range(2))
        assert mask_distance(a, b) == mask_distance(b, a) > 0
        assert mask_distance(a, a) == 0
        assert mask_distance(a, b) <= 2 * min(sparsity, 1 - sparsity) + 1e-12


def test_normalised_distances_reach_one() -> None:
    masks = EarlyBird(0.9, window=2, normalise=True)
    masks.observe(torch.arange(1.0, 101.0))
    masks.observe(torch.arange(100.0, 0.0, -1.0))
    assert masks.distances() == pytest.approx([0.9])  # 18 of 100 entries differ, of the 20 that could
    assert EarlyBird(0.0, window=2, normalise=True).distances() == []


def test_a_resumed_detector_goes_on_where_it_stopped() -> None:
    detector, resumed = EarlyBird(0.8), EarlyBird(0.8)
    for _ in range(4):
        detector.observe(ONE_TO_TEN)
    resumed.load_state(detector.state())
    assert resumed.observe(ONE_TO_TEN)
    assert resumed.epochs == 5


# -- invariant 5: exact counts ------------------------------------------------------------------------------------


def test_the_cut_of_the_published_network_is_exact(trial: Maker) -> None:
    model = MaskedModel(build("preact_resnet18", num_classes=10))
    run = trial("robustbird").run
    for sparsity, zeros in ((0.9, 10_047_917), (0.95, 10_606_134), (0.99, 11_052_708)):
        with run.targeting(sparsity):
            masks = masks_by(Magnitude(), model, run)
        assert sum(mask.numel() for mask in masks.values()) == 11_164_352
        assert sum(int((~mask).sum()) for mask in masks.values()) == zeros


# -- invariants 6 to 8: no rewinding, a fresh optimiser, fixed masks ----------------------------------------------


@pytest.fixture
def ticket(trial: Maker) -> tuple[Seen, Any, nn.Module]:
    seen = Seen()
    made = trial("robustbird", sparsity=0.9, set=FAST | SGD, observers=[seen])
    return seen, made, made.execute()


def test_the_ticket_keeps_weights_and_statistics_of_its_epoch(ticket: tuple[Seen, Any, nn.Module]) -> None:
    seen, _, _ = ticket
    drawn, start = seen.states["prune/early-bird:end"], seen.states["train:start"]
    assert all(torch.equal(drawn[name], start[name]) for name in drawn)
    assert int(start["1.num_batches_tracked"]) > 0
    assert not torch.equal(start["3.weight"], seen.states["train:end"]["3.weight"])


def test_training_starts_with_a_fresh_optimiser(trial: Maker, ticket: tuple[Seen, Any, nn.Module]) -> None:
    seen, made, plain = ticket
    again = trial("robustbird", sparsity=0.9, set=FAST | SGD)  # stage 2 alone, from the same weights and masks
    again.model.module.load_state_dict(seen.states["train:start"])
    again.model.set_masks(made.model.masks)
    again.run.train("train", again.model, again.method.settings.train)
    expected = plain.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.model.folded_state().items())
    assert next(record["lr"] for record in seen.records if record["phase"] == "train") == 0.1


def test_masks_stand_still_while_the_ticket_trains(ticket: tuple[Seen, Any, nn.Module]) -> None:
    seen, made, plain = ticket
    assert seen.digests["train"] == {made.model.masks.digest()}
    assert seen.leaks == 0
    zeros, total = count_zeros(plain)
    assert zeros == round(0.9 * total)
    assert set(made.model.masks) == set(weight_names(plain))


# -- invariants 9 and 10: limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "epochs", "line"), [(1.0, 5, "emerged after 5"), (-1.0, 6, "not emerged after 6")]
)
def test_thresholds_beyond_every_distance(trial: Maker, threshold: float, epochs: int, line: str) -> None:
    seen, notes = Seen(), Notes()
    made = trial("robustbird", set=FAST | {"threshold": threshold, "train.epochs": 0}, observers=[seen])
    made.run.progress = notes
    made.execute()
    assert seen.epochs("prune/early-bird") == epochs
    assert any(line in shown for shown in notes.lines)


def test_density_one_is_pgd_training_warm_started(trial: Maker) -> None:
    seen = Seen()
    plain = trial("robustbird", sparsity=0.0, set=FAST, observers=[seen]).execute()
    warm = trial("robustbird", set=FAST)
    warm.model.module.load_state_dict(seen.states["prune/early-bird:end"])
    warm.run.train("train", warm.model, warm.method.settings.train)
    expected = plain.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in warm.model.module.state_dict().items())


# -- the official recipe ------------------------------------------------------------------------------------------


def test_paper_settings(trial: Maker) -> None:
    settings = RobustBirdSettings()
    for phase in (settings.early_bird, settings.train):
        assert (phase.epochs, phase.lr, phase.momentum, phase.weight_decay) == (200, 0.1, 0.9, 5e-4)
        assert (phase.batch_size, phase.steps, phase.eps) == (128, 10, 8 / 255)
        assert [learning_rate(phase, epoch) for epoch in (49, 50, 149, 150)] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert (settings.early_bird.objective, settings.train.objective) == ("nat", "pgd")
    assert (settings.train.attack_bn, settings.train.handover, settings.train.val_steps) == ("train", "best", 20)
    assert (settings.window, settings.threshold, settings.normalise) == (5, 0.08, True)
    threat = trial("robustbird").run.environment.threat
    assert threat(settings.train).alpha == threat(settings.early_bird).alpha == pytest.approx(2 / 255)


def test_svhn_has_its_own_rate() -> None:
    rates = [build_settings(RobustBird, Request("robustbird", dataset=d, preset="paper")) for d in ("cifar10", "svhn")]
    assert [settings.train.lr for settings in rates] == [0.1, 0.01]  # type: ignore[attr-defined]


@pytest.mark.parametrize("objective", ["fgsm-rs", "pgd"])
def test_the_first_stage_may_be_adversarial(trial: Maker, objective: str) -> None:
    fast = FAST | {"early_bird.objective": objective, "early_bird.attack_bn": "eval", "early_bird.cyclic_peak": 0.4}
    seen = Seen()
    trial("robustbird", set=fast | {"early_bird.steps": 1, "early_bird.epochs": 1}, observers=[seen]).execute()
    assert [record["phase"] for record in seen.records] == ["prune/early-bird", "train", "train"]
