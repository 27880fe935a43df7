"""FMN and HO-FMN as attacks of the evaluation: they look for the nearest adversarial image of every sample."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from .attack import Attack, Crafted, Rehearsal, Setting
from .configuration import Configuration
from .configured_fmn import configured_fmn
from .fmn import fmn
from .ho_fmn import Trial, Tuned, tune
from .outcome import Outcome
from .progress import Work
from .samples import Batch


class _MinimumNorm(Attack):
    """Meets every sample that is classified correctly, also what another attack has broken: its distance is wanted."""

    def meets(self, outcome: Outcome) -> Tensor:
        """All samples that are classified correctly."""
        return outcome.correct


class FMN(_MinimumNorm):
    """The fast minimum-norm attack (Pintor et al., NeurIPS 2021): `apx.evaluation.fmn`."""

    steps: int = Field(100, ge=1)
    alpha: float = Field(1.0, gt=0, description="first step, in L2")
    gamma: float = Field(0.05, gt=0, lt=1, description="first relative change of the radius")

    @property
    def name(self) -> str:
        """`fmn`."""
        return "fmn"

    def work(self, classes: int) -> Work:
        """`steps` gradients and two predictions."""
        return Work(passes=self.steps + 3, weight=3)

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Look for the nearest adversarial images."""
        norm = setting.threat.norm
        found = fmn(setting.network, batch.x, batch.y, norm=norm, steps=self.steps, alpha=self.alpha, gamma=self.gamma)
        return Crafted(found.x_adv, found.distances)


class HOFMN(_MinimumNorm):
    """FMN tuned on the model (Piras et al., arXiv 2407.08806): `apx.evaluation.ho_fmn`.

    `all` in place of a loss, an optimiser or a scheduler tunes every one and keeps what comes nearest in a trial.
    """

    loss: Literal["LL", "CE", "DLR", "all"] = "DLR"
    optimizer: Literal["SGD", "Adam", "Adamax", "all"] = "SGD"
    scheduler: Literal["CALR", "RLROP", "all"] | None = "CALR"
    trials: int = Field(32, ge=1, description="of each combination")
    trial_steps: int = Field(100, ge=1)
    trial_samples: int = Field(64, ge=1, description="tuning samples, the same in each trial")
    steps: int = Field(200, ge=1)
    fidelity: Literal["apx", "official"] = "apx"
    configuration: dict[str, Any] | None = Field(None, description="attack with this one, nothing is tuned")

    @property
    def name(self) -> str:
        """`ho-fmn`."""
        return "ho-fmn"

    def work(self, classes: int) -> Work:
        """`steps` gradients and two predictions; tuning is not part of it."""
        return Work(passes=self.steps + 3, weight=3)

    def rehearsal(self) -> Work:
        """All trials of all combinations."""
        combinations = 0 if self.configuration is not None else sum(1 for _ in self._combinations())
        return Work(passes=combinations * self.trials * self.trial_samples * (self.trial_steps + 2), weight=3)

    def ready(self, setting: Setting, rehearsal: Rehearsal) -> "HOFMN":
        """Tune, trial by trial, and return the attack with the best configuration found."""
        if self.configuration is not None:
            return self
        done = [Trial.from_dict(trial) for trial in rehearsal.trials]
        batch = rehearsal.batch(self.trial_samples)
        best: Tuned | None = None
        for loss, optimizer, scheduler in self._combinations():
            earlier, done = done[: self.trials], done[self.trials :]
            tuned = tune(
                setting.network,
                batch.x,
                batch.y,
                norm=setting.threat.norm,
                loss=loss,
                optimizer=optimizer,
                scheduler=scheduler,
                trials=self.trials,
                steps=self.trial_steps,
                seed=setting.seed,
                fidelity=self.fidelity,
                on_trial=lambda trial: rehearsal.keep(trial.as_dict()),
                done=earlier,
            )
            best = tuned if best is None or tuned.distance < best.distance else best
        assert best is not None  # there is at least one combination, of at least one trial
        return self.model_copy(update={"configuration": best.configuration.as_dict()})

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Look for the nearest adversarial images with the configuration found."""
        chosen = Configuration.from_dict(self.configuration or {})
        found = configured_fmn(
            setting.network,
            batch.x,
            batch.y,
            norm=setting.threat.norm,
            steps=self.steps,
            configuration=chosen,
            seed=setting.seed,
            fidelity=self.fidelity,
        )
        return Crafted(found.x_adv, found.distances)

    def _combinations(self) -> Iterator[tuple[str, str, str | None]]:
        for loss in ("LL", "CE", "DLR") if self.loss == "all" else (self.loss,):
            for optimizer in ("SGD", "Adam", "Adamax") if self.optimizer == "all" else (self.optimizer,):
                for scheduler in ("CALR", "RLROP", None) if self.scheduler == "all" else (self.scheduler,):
                    yield loss, optimizer, scheduler
