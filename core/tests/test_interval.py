import pytest

from apx.evaluation import wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (64, 128, 0.4147, 0.5853),  # 128 images: more than 8 points either way
    ],
)
def test_worked_numbers(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_the_bounds_are_exact_at_the_ends():
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0


def test_more_confidence_is_wider():
    assert wilson(8, 10, 0.99)[0] < wilson(8, 10)[0] < 0.8 < wilson(8, 10)[1] < wilson(8, 10, 0.99)[1]


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (5, 4), (-1, 4)])
def test_no_proportion(successes, n):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)
