"""The one trainer: every phase of every method runs through `Trainer.fit`, and resumes bitwise."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..attacks import pgd, uniform_start
from ..cuda_graphs import recorded
from ..heap import kept_heap
from ..masked_model import MaskedModel
from ..randomness import derive_seed, keyed_uniform
from .dynamics import Dynamics, Position
from .objectives import Batch, Objective, Threat
from .optimisation import Parameters, build_optimizer, learning_rate, parameter_groups, set_learning_rate
from .processes import Processes, processes
from .settings import TrainSettings

if TYPE_CHECKING:
    from ..datasets import Dataset


@dataclass(frozen=True)
class Environment:
    """What every phase of a run shares: data, radius of the threat, seed, device, precision."""

    data: "Dataset"
    seed: int
    device: torch.device
    precision: str = "fp32"  # or bf16: autocast of the forward passes
    augment: bool = True

    def autocast(self) -> torch.autocast:
        """Return the autocast context of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def processes(self) -> Processes:
        """The processes that share this run's work."""
        return processes(self.device.type)

    def threat(self, settings: TrainSettings) -> Threat:
        """Resolve radius and step size of a phase's attack."""
        eps = self.data.threat_eps if settings.eps is None else settings.eps
        alpha = min(eps, 2.5 * eps / max(settings.steps, 1)) if settings.alpha is None else settings.alpha
        return Threat(eps=eps, alpha=alpha, steps=settings.steps)


@dataclass
class Hooks:
    """What a run wants to hear from a phase; each is called with plain values.

    `step(epoch, step, steps_per_epoch, loss)` after each step; `epoch(record)` after each epoch; `save(state)` when a
    checkpoint is due; `due()` says whether one is due between epochs; `check()` may raise to interrupt.
    """

    step: Callable[[MaskedModel, int, int, int, float], None] = lambda *_: None
    epoch: Callable[[dict[str, Any]], None] = lambda _: None
    save: Callable[[dict[str, Any]], None] = lambda _: None
    due: Callable[[], bool] = lambda: False
    interrupted: Callable[[], bool] = lambda: False
    stop: Callable[[], None] = lambda: None


@dataclass
class _Tally:
    """What an epoch under way has come to: summed loss, images, seconds; part of a checkpoint."""

    loss: float = 0.0
    seen: int = 0
    seconds: float = 0.0


@dataclass
class Trainer:
    """Trains a MaskedModel for one phase: objective, optimiser and dynamics, step by step.

    Args:
        model: on the environment's device.
        settings: the phase's settings.
        environment: data, seed, device.
        phase: the phase's path; part of every random key.
        objective: what is minimised.
        parameters: what is trained, plain or in torch's groups; every parameter of the model where None. Others are
            frozen for the phase.
        dynamics: a method's hooks.
        hooks: a run's hooks.
    """

    model: MaskedModel
    settings: TrainSettings
    environment: Environment
    phase: str
    objective: Objective
    parameters: Parameters | None = None
    dynamics: Dynamics = field(default_factory=Dynamics)
    hooks: Hooks = field(default_factory=Hooks)

    def fit(self, resume: Mapping[str, Any] | None = None) -> None:
        """Run the phase to its end, from its start or from a state that `hooks.save` received."""
        groups = parameter_groups(self.model.parameters() if self.parameters is None else self.parameters)
        trained = [parameter for group in groups for parameter in group["params"]]
        chosen = {id(parameter) for parameter in trained}
        others = [p for p in self.model.parameters() if p.requires_grad and id(p) not in chosen]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            self._processes = self.environment.processes
            self._trained = trained
            self._optimizer = build_optimizer(groups, self.settings)
            self._best: tuple[float, dict[str, Any]] | None = None
            self._tally = _Tally()
            epoch, step = self._restore(resume) if resume is not None else (0, 0)
            own_share = math.ceil(self.settings.batch_size / self._processes.count)
            with kept_heap(), recorded(self.model, own_share, self.environment.device):
                self._loop(epoch, step)
        finally:
            for parameter in others:
                parameter.requires_grad_(True)
            self.model.zero_grad(set_to_none=True)
            self.model.refresh()

    def _loop(self, first_epoch: int, first_step: int) -> None:
        self._steps_per_epoch = math.ceil(len(self.environment.data.train) / self.settings.batch_size)
        self.dynamics.phase_start(self.model, self._optimizer)
        self.model.refresh()
        for epoch in range(first_epoch, self.settings.epochs):
            ended = self._epoch(epoch, first_step if epoch == first_epoch else 0)
            if ended or epoch + 1 == self.settings.epochs:
                break  # the phase's end is a checkpoint of its own
            self.hooks.save(self._state(epoch + 1, 0))
            if self.hooks.interrupted():
                self.hooks.stop()
        if self.settings.handover == "best" and self._best is not None:
            self.model.load_state(self._best[1])

    def _epoch(self, epoch: int, first_step: int) -> bool:
        from ..datasets import epoch_batches

        if first_step == 0:
            self._tally = _Tally()
            self.dynamics.epoch_start(self.model, epoch)
            self.model.refresh()
        tally, started = self._tally, time.perf_counter() - self._tally.seconds
        batches = epoch_batches(
            self.environment.data,
            self.environment.data.train,
            batch_size=self.settings.batch_size,
            seed=derive_seed(self.environment.seed, self.phase),
            epoch=epoch,
            augment=self.settings.augment and self.environment.augment,
            device=self.environment.device,
            start_batch=first_step,
        )
        for step, (x, y, indices) in enumerate(batches, start=first_step):
            own_x, own_y, own_indices = self._processes.shard(x, y, indices)
            self._weight = self._processes.weight(len(own_y), len(y))
            batch = Batch(own_x, own_y, own_indices, self.environment.seed, self.phase, epoch)
            own_loss = self._step(batch, Position(epoch, step, self._steps_per_epoch))
            loss = self._processes.average_value(own_loss * self._weight)
            tally.loss, tally.seen = tally.loss + loss * len(y), tally.seen + len(y)
            tally.seconds = time.perf_counter() - started
            self.hooks.step(self.model, epoch, step, self._steps_per_epoch, loss)
            if (self.hooks.due() or self.hooks.interrupted()) and step + 1 < self._steps_per_epoch:
                self.hooks.save(self._state(epoch, step + 1))
                if self.hooks.interrupted():
                    self.hooks.stop()
        self._processes.average_buffers(self.model)
        record = {
            "phase": self.phase,
            "epoch": epoch,
            "loss": tally.loss / max(tally.seen, 1),
            "lr": self._optimizer.param_groups[0]["lr"],
            "seconds": time.perf_counter() - started,
        }
        if self.settings.handover == "best":
            record |= self._judge(epoch)
        ended = self.dynamics.epoch_end(self.model, epoch)
        self.model.refresh()
        self.hooks.epoch(record)
        return ended

    def _step(self, batch: Batch, at: Position) -> float:
        # anything that draws from the global generators (dropout, a plugin) is reproducible and resumes
        torch.manual_seed(derive_seed(self.environment.seed, self.phase, at.epoch, at.step))
        rate = learning_rate(self.settings, at.epoch, at.step / at.steps_per_epoch)
        set_learning_rate(self._optimizer, rate)
        self.model.train()
        self.dynamics.batch_start(self.model, batch, at)

        def update(loss: Tensor) -> None:
            with torch.autocast(self.environment.device.type, enabled=False):
                descend(loss)
            torch.clear_autocast_cache()  # it holds casts of the weights as they were before the step

        def descend(loss: Tensor) -> None:
            terms = self.dynamics.loss_terms(self.model, batch, at)
            self._optimizer.zero_grad(set_to_none=True)
            loss = loss * self._weight
            (loss if terms is None else loss + terms).backward()
            self.dynamics.after_backward(self.model, batch, at)
            self.model.pull_back()
            self._processes.average_gradients(self._trained)
            self.model.mask_gradients()
            self._optimizer.step()
            self.model.enforce(self._optimizer)
            self.dynamics.after_step(self.model, self._optimizer, at)
            self.model.refresh()

        with self.environment.autocast():
            return self.objective.step(self.model, batch, update)

    # -- state --------------------------------------------------------------------------------------------------

    def _state(self, epoch: int, step: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "step": step,
            "model": self.model.state(),
            "optimizer": self._optimizer.state_dict(),
            "objective": self.objective.state(),
            "dynamics": self.dynamics.state(),
            "best": None if self._best is None else list(self._best),
            "tally": asdict(self._tally),
        }

    def _restore(self, state: Mapping[str, Any]) -> tuple[int, int]:
        self.model.load_state(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._lay_out_optimizer_state()
        self.objective.load_state(state["objective"])
        self.dynamics.load_state(state["dynamics"])
        if state["best"] is not None:
            self._best = (state["best"][0], state["best"][1])
        self._tally = _Tally(**state["tally"])
        return state["epoch"], state["step"]

    def _lay_out_optimizer_state(self) -> None:
        # checkpoints hold contiguous tensors; the undisturbed run's moments are laid out like their parameters
        for parameter, state in self._optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter).copy_(value)

    def _judge(self, epoch: int) -> dict[str, float]:
        """Measure robust accuracy on validation data and remember the best state; ties go to the later epoch.

        Only states as sparse as the current one compete: a better one from before a pruning step is no result. Nor
        is one that the dynamics does not let pass; where it never does, the last epoch is handed over.
        """
        accuracy = self._validation_accuracy()
        if not self.dynamics.may_hand_over(self.model, epoch):
            return {"val_robust": accuracy}
        state = self.model.state()
        outdated = self._best is not None and _removed(self._best[1]) != _removed(state)
        if self._best is None or outdated or accuracy >= self._best[0]:
            self._best = (accuracy, {part: _cloned(tensors) for part, tensors in state.items()})
        return {"val_robust": accuracy}

    def _validation_accuracy(self) -> float:
        env, split = self.environment, self.environment.data.val
        attack = env.threat(self.settings.model_copy(update={"steps": self.settings.val_steps, "alpha": None}))
        correct = 0
        from ..datasets import ordered_batches

        for x, y, indices in ordered_batches(split, batch_size=self.settings.batch_size, device=env.device):
            noise = keyed_uniform(env.seed, "validation", indices, tuple(x.shape[1:]))
            with env.autocast():
                start = uniform_start(x, attack.eps, noise)
                x_adv = pgd(self.model, x, y, start=start, mode="eval", **vars(attack))
                training = self.model.training
                self.model.eval()
                with torch.no_grad():
                    correct += int((self.model(x_adv).argmax(dim=1) == y).sum())
                self.model.train(training)
        return correct / len(split)


def _removed(state: Mapping[str, Any]) -> int:
    """Return how many entries the masks of a model's state remove."""
    return sum(int((~mask.bool()).sum()) for mask in state["masks"].values())


def _cloned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
