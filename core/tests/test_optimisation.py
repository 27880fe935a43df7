"""Learning rates as functions of the position in a phase."""

import pytest

from apx.training.optimisation import learning_rate
from apx.training.settings import TrainSettings, scaled

THIRDS = TrainSettings(epochs=60, lr=0.01, lr_schedule="step", milestones=(1 / 3, 2 / 3))


def rates(settings: TrainSettings, *epochs: int) -> list[float]:
    return [learning_rate(settings, epoch) for epoch in epochs]


@pytest.mark.parametrize(
    ("period", "changes"),
    [
        (20, {0: 1e-2, 6: 1e-2, 7: 1e-3, 13: 1e-3, 14: 1e-4, 19: 1e-4, 20: 1e-2}),
        (3, {0: 1e-2, 1: 1e-3, 2: 1e-4, 3: 1e-2}),
    ],
)
def test_a_schedule_starts_again_after_its_period(period: int, changes: dict[int, float]) -> None:
    settings = THIRDS.model_copy(update={"lr_period": period})
    assert rates(settings, *changes) == pytest.approx(list(changes.values()))


def test_without_a_period_milestones_are_fractions_of_the_phase() -> None:
    assert rates(THIRDS, 19, 20, 40) == pytest.approx([1e-2, 1e-3, 1e-4])


def test_warm_up_rises_linearly_and_hands_over_to_the_schedule() -> None:
    settings = TrainSettings(
        epochs=100, lr=0.1, lr_schedule="step", milestones=(0.5, 0.75), warmup_epochs=10, warmup_lr=0.05
    )
    expected = {0: 0.05, 1: 0.055, 5: 0.075, 10: 0.1, 49: 0.1, 50: 0.01, 75: 0.001}
    assert rates(settings, *expected) == pytest.approx(list(expected.values()))


def test_shorter_phases_have_shorter_periods_and_warm_ups() -> None:
    settings = THIRDS.model_copy(update={"lr_period": 30, "warmup_epochs": 10})
    quarter = scaled(settings, 0.1)
    assert (quarter.epochs, quarter.lr_period, quarter.warmup_epochs) == (6, 3, 1)
    assert scaled(settings, 0.01).lr_period == 1
    assert scaled(settings, 0.01).warmup_epochs == 0
