"""What HO-FMN searches (arXiv 2407.08806, table 1), and the points that its tuner suggests."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..randomness import derive_seed
from .configuration import OPTIMIZERS, SCHEDULERS
from .margins import LOSSES

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, even in their logarithm where `log`."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """Return the number at `share` (0 to 1) of the range."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def distribution(self) -> "BaseDistribution":
        """Return it as optuna's."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of a few whole numbers."""

    values: tuple[int, ...]

    def at(self, share: float) -> int:
        """Return the value at `share` (0 to 1) of the list."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def distribution(self) -> "BaseDistribution":
        """Return it as optuna's."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


Space = Mapping[str, Range | Choice]

_LR = Range(8 / 255, 10.0, log=True)
_WEIGHT_DECAY = Range(0.01, 1.0)
_BETAS = {"beta1": Range(0.0, 0.999), "beta2": Range(0.0, 0.999)}

SEARCH: Mapping[str | None, Space] = {
    "SGD": {
        "lr": _LR,
        "momentum": Range(0.0, 0.9),
        "weight_decay": _WEIGHT_DECAY,
        "dampening": Range(0.0, 0.2),
    },
    "Adam": {"lr": _LR, "weight_decay": _WEIGHT_DECAY, **_BETAS},
    "Adamax": {"lr": _LR, "weight_decay": _WEIGHT_DECAY, **_BETAS},
    "CALR": {},
    "RLROP": {"factor": Range(0.1, 0.5), "patience": Choice((2, 5, 10))},
    None: {},
}
"""What is searched with each optimiser and each scheduler."""


def combinations() -> list[tuple[str, str, str | None]]:
    """Return all 27 combinations of (loss, optimiser, scheduler) that can be tuned."""
    return list(itertools.product(LOSSES, OPTIMIZERS, SCHEDULERS))


def space_of(optimizer: str, scheduler: str | None) -> Space:
    """Return what is searched with this optimiser and this scheduler."""
    return {**SEARCH[optimizer], **SEARCH[scheduler]}


def startup_trials(space: Space) -> int:
    """Return how many trials are Sobol points before the Gaussian process takes over (Ax's rule)."""
    return max(5, 2 * len(space))


def suggest(space: Space, seen: Sequence[tuple[Mapping[str, Any], float]], seed: int) -> dict[str, Any]:
    """Return the next point to try.

    It depends on `seed` and on the points seen so far, and on nothing else: a search that was interrupted goes on
    as if it had not been.

    Args:
        space: what is searched.
        seen: (point, what it gave) of all trials so far; small is good, +inf is allowed.
        seed: of the Sobol sequence's scrambling and of the search for the best expected improvement.
    """
    if len(seen) < startup_trials(space):
        return _sobol(space, len(seen), seed)
    return _expected_improvement(space, seen, seed)


def _sobol(space: Space, number: int, seed: int) -> dict[str, Any]:
    import torch

    engine = torch.quasirandom.SobolEngine(len(space), scramble=True, seed=derive_seed(seed, "sobol") >> 32)
    shares = engine.draw(number + 1, dtype=torch.float64)[number].tolist()
    return {name: part.at(share) for (name, part), share in zip(space.items(), shares, strict=True)}


def _expected_improvement(space: Space, seen: Sequence[tuple[Mapping[str, Any], float]], seed: int) -> dict[str, Any]:
    """Return the point of most expected improvement under a Gaussian process with noise: batches differ."""
    import optuna

    distributions = {name: part.distribution() for name, part in space.items()}
    worst = max((value for _, value in seen if math.isfinite(value)), default=1.0)
    # a sampler of its own for each trial: the seed and the trials are all that it knows
    sampler = optuna.samplers.GPSampler(seed=derive_seed(seed, "gp", len(seen)) >> 32, n_startup_trials=1)
    with _quiet_optuna():
        study = optuna.create_study(sampler=sampler)
        for point, value in seen:
            trial = optuna.trial.create_trial(params=dict(point), distributions=distributions, value=min(value, worst))
            study.add_trial(trial)
        return dict(study.ask(distributions).params)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of speed alone
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
