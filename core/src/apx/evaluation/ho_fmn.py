"""HO-FMN: FMN whose hyperparameters are tuned on the attacked model (Piras et al., arXiv 2407.08806)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import UserError
from .configuration import Configuration
from .configured_fmn import Fidelity, configured_fmn
from .search_space import SEARCH, combinations, space_of, suggest

__all__ = ["SEARCH", "Configuration", "Trial", "Tuned", "combinations", "configured_fmn", "tune"]


@dataclass(frozen=True)
class Trial:
    """One configuration and the median distance that it reached, +inf where fewer than half of the images fell."""

    number: int
    configuration: Configuration
    distance: float

    def as_dict(self) -> dict[str, Any]:
        """Return JSON types; an infinite distance is null."""
        distance = self.distance if math.isfinite(self.distance) else None
        return {"number": self.number, "configuration": self.configuration.as_dict(), "distance": distance}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the trial that `as_dict` gave `values` of."""
        distance = math.inf if values["distance"] is None else float(values["distance"])
        return cls(int(values["number"]), Configuration.from_dict(values["configuration"]), distance)


@dataclass(frozen=True)
class Tuned:
    """The best configuration, the distance that it reached, and all trials in their order."""

    configuration: Configuration
    distance: float
    trials: tuple[Trial, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON types; an infinite distance is null."""
        return {
            "configuration": self.configuration.as_dict(),
            "distance": self.distance if math.isfinite(self.distance) else None,
            "trials": [trial.as_dict() for trial in self.trials],
        }


def tune(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    loss: str,
    optimizer: str,
    scheduler: str | None,
    trials: int = 32,
    steps: int = 100,
    seed: int = 0,
    fidelity: Fidelity = "apx",
    on_trial: Callable[[Trial], None] | None = None,
    done: Sequence[Trial] = (),
) -> Tuned:
    """Find the hyperparameters with which `configured_fmn` comes nearest to the boundary of `model`.

    The first trials are points of a scrambled Sobol sequence, max(5, 2 x hyperparameters) of them; then a Gaussian
    process suggests the point of most expected improvement. All trials attack the same images, as in the published
    code: between batches medians differ by more than between good configurations, and on batches of their own the
    winner was a lucky batch more often than a better configuration. A trial's value is the median distance, where a
    clean image that is misclassified counts as infinitely far, as in the published code: it says nothing about the
    attack.

    Args:
        model: maps images to logits [B, classes].
        x, y: images [B, C, H, W] and labels [B]; the test images that are attacked later should not be among them.
        norm: L0, L1, L2 or Linf.
        loss: LL, CE or DLR.
        optimizer: SGD, Adam or Adamax.
        scheduler: CALR, RLROP or None.
        trials: how many in all, those `done` included.
        steps: of each attack.
        seed: of the suggestions; the same seed and images give the same trials.
        fidelity: `official` attacks as the published code does.
        on_trial: called after each trial, so that it can be stored.
        done: the first trials of an interrupted search, in their order; it goes on as it would have.

    Raises:
        UserError: an unknown name, no trial, trials that belong to another search, or what `configured_fmn` refuses.
    """
    first = Configuration(loss=loss, optimizer=optimizer, scheduler=scheduler, eta_min=0.0)
    _check_trials(first, trials, done)
    space = space_of(optimizer, scheduler)
    made = list(done[:trials])
    for number in range(len(made), trials):
        seen = [({name: getattr(trial.configuration, name) for name in space}, trial.distance) for trial in made]
        chosen = Configuration.from_dict({**first.as_dict(), **suggest(space, seen, seed)})
        found = configured_fmn(model, x, y, norm=norm, steps=steps, configuration=chosen, fidelity=fidelity)
        made.append(Trial(number, chosen, _median(found.distances)))
        if on_trial is not None:
            on_trial(made[-1])
    best = min(made, key=lambda trial: trial.distance)
    return Tuned(best.configuration, best.distance, tuple(made))


def _median(distances: Tensor) -> float:
    return float(torch.where(distances == 0, math.inf, distances).median())


def _check_trials(first: Configuration, trials: int, done: Sequence[Trial]) -> None:
    if trials < 1:
        raise UserError(f"cannot tune in {trials} trials: trials must be at least 1")
    for number, trial in enumerate(done):
        theirs, names = trial.configuration, (first.loss, first.optimizer, first.scheduler)
        if trial.number != number or (theirs.loss, theirs.optimizer, theirs.scheduler) != names:
            raise UserError(
                f"the stored trial {trial.number} ({theirs.loss}, {theirs.optimizer}, {theirs.scheduler}) does not "
                f"belong to this search ({first.loss}, {first.optimizer}, {first.scheduler}): start a new search"
            )
