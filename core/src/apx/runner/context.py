"""`Run`: what a method works with while it runs."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ApxError
from ..masked_model import MaskedModel
from ..masks import Masks, weight_names
from ..method import Variant
from ..randomness import derive_seed, keyed_uniform
from ..shrunk_training import Smaller, smaller
from ..specifics import Iterative, Locality, OneShot, Schedule, Structure, structure_of
from ..specifics.locality import Global, Local
from ..specifics.rates import ERK, RateStrategy, Uniform
from ..training.dynamics import Dynamics
from ..training.objectives import BUILTIN, Batch, Objective
from ..training.optimisation import Parameters
from ..training.settings import TrainSettings, at_least_one, scaled
from ..training.trainer import Environment, Hooks, Trainer
from .cache import dense_key, load_dense, store_dense
from .directory import RunDirectory
from .interrupts import Interrupts
from .observer import Observer
from .progress import Progress, Quiet

PAYS_FROM = 50  # steps of a phase from which the time saved at a network's real size is more than tracing it takes
SAVE_EVERY = 45.0  # seconds between checkpoints inside an epoch: with a slow step and the write, a kill loses no minute


@dataclass
class Run:
    """Data, seeds, the trainer and the bookkeeping of phases, for one run of one variant.

    Every phase is idempotent: one that ended before a kill restores its state instead of running again, so that a
    method is written as if it were never interrupted.
    """

    variant: Variant
    sparsity: float
    environment: Environment
    rounds: int = 4
    epochs_scale: float = 1.0
    directory: RunDirectory | None = None
    progress: Progress = field(default_factory=Quiet)
    interrupts: Interrupts = field(default_factory=Interrupts)
    observers: list[Observer] = field(default_factory=list)
    objectives: Mapping[str, type[Objective]] = field(default_factory=dict)
    dense: dict[str, Tensor] | None = None  # the dense model's state, once known
    dense_origin: str = ""
    determines: Mapping[str, Any] | None = None  # what determines the untrained network; None: not cacheable
    seconds: dict[str, float] = field(default_factory=dict)
    full_size: bool = False  # train structured networks at their full size, removed filters and all
    earlier: float = 0.0  # seconds of earlier lives of this run, as far as their work did not have to be done again

    def __post_init__(self) -> None:
        self._stack: list[str] = []
        self._started: list[float] = []
        self._target: float | None = None
        self._told = False
        self._saved = time.monotonic()

    # -- what was asked -----------------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The dataset."""
        return self.environment.data

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.environment.seed

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        return self.environment.device

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.environment.processes.main

    @property
    def target(self) -> float:
        """The sparsity that the current pruning step has to reach, in the variant's unit."""
        if self._target is None:
            raise ApxError("a target sparsity exists only inside a pruning step")
        return self._target

    @contextmanager
    def targeting(self, sparsity: float) -> Iterator[None]:
        """Inside, `target` is `sparsity`."""
        before, self._target = self._target, sparsity
        try:
            yield
        finally:
            self._target = before

    @property
    def schedule(self) -> Schedule:
        """The variant's schedule."""
        return OneShot() if self.variant.schedule == "1S" else Iterative(self.rounds)

    @property
    def structure(self) -> Structure:
        """What one mask bit removes in this variant."""
        return structure_of(self.variant.granularity)

    @property
    def locality(self) -> Locality:
        """Where scores compete in this variant, with its rate strategy."""
        if self.variant.budget in ("learned", "searched"):
            raise ApxError(f"a {self.variant.budget} budget has no ranking of its own: pass masks_from* a locality")
        if self.variant.locality == "G":
            return Global(at_least=0 if self.variant.structure == "US" else 1)
        rates: RateStrategy = ERK() if self.variant.budget == "fixed-nonuniform" else Uniform()
        return Local(rates)

    def epochs(self, settings: TrainSettings) -> int:
        """Return how many epochs a phase of these settings runs, `--epochs-scale` applied."""
        return scaled(settings, self.epochs_scale).epochs

    def span(self, epochs: int) -> int:
        """Return a number of epochs (an interval, a start) with `--epochs-scale` applied, at least 1."""
        return epochs if self.epochs_scale == 1.0 else at_least_one(epochs * self.epochs_scale)

    def targets(self) -> list[float]:
        """Return the sparsity target of each pruning step."""
        return self.schedule.targets(self.sparsity)

    def prunable(self, model: MaskedModel) -> list[str]:
        """Return the names of the weights that this variant may prune, in definition order."""
        names = weight_names(model.module, self.variant.excluded_layers)
        if self.variant.granularity != "weights":
            names = [name for name in names if model.module.get_parameter(name).dim() >= 2]
        return names

    def kept(self, model: MaskedModel) -> dict[str, int]:
        """Return weight name -> how many units the variant's rates keep at `target`, at least 1.

        Raises:
            ApxError: the variant ranks across layers, or learns or searches its rates: nothing says it beforehand.
        """
        locality = self.locality
        if not isinstance(locality, Local):
            raise ApxError("a global ranking fixes no layer's share beforehand")
        shapes = {name: tuple(model.module.get_parameter(name).shape) for name in self.prunable(model)}
        return locality.rates.kept(shapes, self.target, self.structure)

    @property
    def example(self) -> Tensor:
        """One training image, float [1, C, H, W], to trace the network with."""
        return self.data.train.images[:1].to(self.device).float() / 255

    def random(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Draw uniform [0, 1) numbers of `shape`, keyed by the seed and `purpose`."""
        index = torch.zeros(1, dtype=torch.int64, device=self.device)
        return keyed_uniform(self.seed, f"{'/'.join(self._stack)}/{purpose}", index, shape)[0]

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator seeded by the run's seed, the current phase and `purpose`."""
        return torch.Generator().manual_seed(derive_seed(self.seed, "/".join(self._stack), purpose))

    # -- phases -------------------------------------------------------------------------------------------------

    def phase(self, name: str, model: MaskedModel, body: Callable[[], Masks | None]) -> Masks | None:
        """Run `body` as a phase; if it ended in an earlier life of this run, restore model and result instead."""
        path = "/".join([*self._stack, name])
        self._tell_of_start()
        done = self.directory.finished(path, str(self.device)) if self.directory else None
        if done is not None:
            model.load_state(done["model"])
            self.seconds[path] = done["seconds"]
            self._credit(done["seconds"])
            return None if done["masks"] is None else Masks({n: m.bool() for n, m in done["masks"].items()})
        self._stack.append(name)
        self._started.append(time.perf_counter())
        for observer in self.observers:
            observer.phase_start(path, model)
        try:
            masks = body()
        finally:
            self._stack.pop()
            started = self._started.pop()
        for observer in self.observers:
            observer.phase_end(path, model)
        self.seconds[path] = time.perf_counter() - started
        if self.directory and self.writes:
            state = {
                "model": model.state(),
                "masks": None if masks is None else dict(masks),
                "seconds": self.seconds[path],
            }
            self.directory.finish(path, state)
        return masks

    def _tell_of_start(self) -> None:
        """Tell the observers, before the first phase, which run they hear of."""
        if not self._told:
            self._told = True
            for observer in self.observers:
                observer.run_start(self)

    def _credit(self, seconds: float) -> None:
        """Count seconds of an earlier life for the run and all phases under way."""
        self.earlier += seconds
        self._started = [started - seconds for started in self._started]

    def prune(self, name: str, model: MaskedModel, prune: Callable[[MaskedModel, "Run"], Masks], target: float) -> None:
        """Run a pruning phase towards `target` and put its masks into force."""

        def body() -> Masks:
            with self.targeting(target):
                masks = prune(model, self)
            model.set_masks(masks)
            return masks

        self.phase(name, model, body)

    def train(
        self,
        name: str,
        model: MaskedModel,
        settings: TrainSettings,
        *,
        parameters: Parameters | None = None,
        dynamics: Dynamics | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        """Train as a phase: the one trainer, with checkpoints inside.

        Args:
            name: the phase's name; nested phases get the path of the outer ones.
            model: what is trained, in place.
            settings: objective, optimiser, length.
            parameters: what is trained, plain or in torch's groups (own weight decay, `lr_scale`); all parameters
                where None. The others are frozen meanwhile.
            dynamics: hooks of the method.
            teacher: for distillation objectives.

        Raises:
            ApxError: `name` is `pretrain` at the top level, which is the dense network's.
        """
        if name == "pretrain" and not self._stack:
            raise ApxError("the phase name pretrain belongs to the dense network; give the method's own phase another")
        settings = scaled(settings, self.epochs_scale) if self.epochs_scale != 1.0 else settings
        path = "/".join([*self._stack, name])

        def body() -> None:
            objective = self._objective(settings, teacher)
            resumed = self.directory.partial(path, str(self.device)) if self.directory else None
            static = parameters is None and dynamics is None and type(objective) in BUILTIN.values()
            small = self._smaller(model, settings, resumed) if static else None
            trainer = Trainer(
                model=model if small is None else small.model,
                settings=settings,
                environment=self.environment,
                phase=path,
                objective=objective,
                parameters=parameters,
                dynamics=dynamics or Dynamics(),
                hooks=self._hooks(path, model, small),
            )
            if resumed is not None:
                self._credit(resumed["seconds"])
            steps = self._steps(settings)
            done = 0 if resumed is None else resumed["epoch"] * steps + resumed["step"]
            self.progress.phase(path, settings.epochs * steps, done)
            self._saved = time.monotonic()
            try:
                trainer.fit(resumed)
                if small is not None:
                    small.write_back(model)
            finally:  # whoever resumes in this process must not meet a checkpoint that is still being renamed
                if self.directory:
                    self.directory.settle()

        self.phase(name, model, body)

    def pretrain(self, model: MaskedModel, settings: TrainSettings) -> None:
        """Bring `model` to the dense pretrained state: given, cached, or trained now (and then cached)."""

        def body() -> None:
            partial = self.directory is not None and self.directory.partial("pretrain/train") is not None
            if self.dense is None and not partial:
                self.dense = self.cached_dense(settings)
            if self.dense is not None:
                model.module.load_state_dict(self.dense)
                self.progress.note(f"pretrain: dense model {self.dense_origin}")
                return
            self.train("train", model, settings)

        self.phase("pretrain", model, body)
        fresh = self.dense is None
        self.dense = {name: tensor.detach().clone() for name, tensor in model.module.state_dict().items()}
        if fresh and self.writes and (key := self._dense_key(settings)) is not None:
            self.dense_origin = "trained in this run"
            store_dense(key, self.dense, {"settings": settings.model_dump(), "network": dict(self.determines or {})})

    def dense_state(self, model: MaskedModel, settings: TrainSettings) -> dict[str, Tensor]:
        """Return the state dict of the dense network trained with `settings`; `model` is left as it is."""
        if self.dense is None:
            twin = MaskedModel(copy.deepcopy(model.module))
            self.pretrain(twin, settings)
        assert self.dense is not None
        return self.dense

    # -- scoring ------------------------------------------------------------------------------------------------

    def scoring_gradients(self, model: MaskedModel, names: list[str]) -> dict[str, Tensor]:
        """Return the mean gradient of the adversarial cross-entropy with respect to the effective weights.

        A pass over the training data without augmentation, in eval mode, PGD-10 at the dataset's threat; dense, also
        at pruned weights. Parameters, buffers, gradients and mode are left as they were.
        """
        from ..datasets import ordered_batches
        from ..training.objectives import PGD

        settings = TrainSettings(objective="pgd", attack_bn="eval")
        objective = PGD(settings, self.environment.threat(settings))
        scored = copy.deepcopy(model).eval()
        for parameter in scored.parameters():
            parameter.requires_grad_(True)
        path = "/".join(self._stack)
        for x, y, indices in ordered_batches(self.data.train, batch_size=128, device=self.device):
            batch = Batch(x, y, indices, self.seed, f"{path}/scoring", 0)
            with torch.enable_grad():  # a method may ask from inside no_grad, where it moves masks
                (objective.loss(scored, batch) * len(y) / len(self.data.train)).backward()
        gradients = {name: scored.dense_gradient(name) for name in names}
        return {name: gradient.clone() for name, gradient in gradients.items() if gradient is not None}

    # -- inside -------------------------------------------------------------------------------------------------

    def _objective(self, settings: TrainSettings, teacher: nn.Module | None) -> Objective:
        known = {**BUILTIN, **self.objectives}
        return known[settings.objective](settings, self.environment.threat(settings), teacher)

    def _steps(self, settings: TrainSettings) -> int:
        """Return the steps of an epoch; the last batch may be smaller."""
        return -(-len(self.data.train) // settings.batch_size)

    def _smaller(
        self, model: MaskedModel, settings: TrainSettings, resumed: Mapping[str, Any] | None
    ) -> Smaller | None:
        """Return the network at its real size, where training it is exact and long enough to pay for the tracing.

        A checkpoint from within the phase says at which size it was trained.
        """
        masked_once = self.variant.granularity == "filters" and self.variant.schedule == "1S"
        if self.full_size or not masked_once or settings.epochs * self._steps(settings) < PAYS_FROM:
            return None
        found = smaller(model, self.example)
        if found is not None and resumed is not None:
            shapes = {name: tensor.shape for name, tensor in found.model.module.state_dict().items()}
            if shapes != {name: tensor.shape for name, tensor in resumed["model"]["module"].items()}:
                return None
        return found

    def _hooks(self, path: str, model: MaskedModel, small: Smaller | None = None) -> Hooks:
        """Tell directory, progress and observers; these see the network at its full size, up to date once an epoch."""

        def step(_: MaskedModel, epoch: int, number: int, steps: int, loss: float) -> None:
            self.progress.step(loss)
            for observer in self.observers:
                observer.step(path, epoch, number, model)

        def epoch(record: dict[str, Any]) -> None:
            if small is not None and self.observers:
                small.write_back(model)
            if self.directory and self.writes:
                self.directory.log(record)
            for observer in self.observers:
                observer.epoch(record)

        def save(state: dict[str, Any]) -> None:
            if self.directory and self.writes:
                self.directory.save_partial(path, {**state, "seconds": time.perf_counter() - self._started[-1]})
            self._saved = time.monotonic()

        return Hooks(
            step=step,
            epoch=epoch,
            save=save,
            due=lambda: self.directory is not None and time.monotonic() - self._saved > SAVE_EVERY,
            interrupted=self.interrupts.pending,
            stop=self.interrupts.stop,
        )

    def _dense_key(self, settings: TrainSettings) -> str | None:
        if self.determines is None:
            return None
        scaled_settings = scaled(settings, self.epochs_scale) if self.epochs_scale != 1.0 else settings
        env = self.environment
        determines = {
            **self.determines,
            "settings": scaled_settings.model_dump(),
            "threat": asdict(env.threat(settings)),
            "seed": env.seed,
            "device": env.device.type,
            "precision": env.precision,
        }
        return dense_key(determines, self.data)

    def cached_dense(self, settings: TrainSettings) -> dict[str, Tensor] | None:
        """Return the dense model of these settings from the cache, or None."""
        key = self._dense_key(settings)
        state = None if key is None else load_dense(key)
        if state is not None:
            self.dense_origin = "from the cache"
        return state
