"""The three kinds of adversarial pruning methods, by when they prune."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from .training.dynamics import Dynamics
from .training.settings import TrainSettings

if TYPE_CHECKING:
    from .masked_model import MaskedModel
    from .masks import Masks
    from .runner.context import Run


@dataclass(frozen=True)
class Variant:
    """One row of an entry's `implements`: what this run of the method does, in the survey's words.

    `sparsity_at` is `start` where the asked sparsity is that of the first cut and the method moves on from there.
    """

    structure: str
    granularity: str
    schedule: str
    locality: str
    budget: str
    sparsity_unit: str
    sparsity_at: str = "end"
    excluded_layers: tuple[str, ...] = ()
    status: str = "implemented"
    basis: str = "paper"
    phases: tuple[Mapping[str, Any], ...] = ()


class MethodSettings(BaseModel):
    """What a user may set for a method; defaults are the paper's. Unknown names are refused.

    Phases are fields of type `TrainSettings`, named as in the entry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sparsity: float = Field(0.9, ge=0, lt=1, description="share removed, in the variant's own unit")
    normalise: bool = Field(False, description="subtract and divide by the data's statistics inside the network")
    rounds: int = Field(4, ge=2, description="pruning rounds of an iterative schedule")
    fidelity: Literal["paper", "official"] = Field("paper", description="official reproduces the code, bugs included")


class Method(ABC):
    """An adversarial pruning method: settings, presets and the pipeline of its stage.

    Subclass one of `AfterTraining`, `BeforeTraining`, `DuringTraining`. `presets` maps a preset's name, optionally
    followed by `:arch`, `:structure`, `:structure:arch`, `:dataset` or `:dataset:arch`, to overrides of the settings'
    defaults, in this order; `paper` is the defaults unless one of these differs.
    """

    slug: ClassVar[str]
    stage: ClassVar[str]
    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, settings: MethodSettings, variant: Variant) -> None:
        self.settings = settings
        self.variant = variant

    @abstractmethod
    def execute(self, model: "MaskedModel", run: "Run") -> None:
        """Run the stage's pipeline; the three stage classes implement it."""

    def prepare(self, model: "MaskedModel", run: "Run") -> None:  # noqa: B027 - optional
        """Make declared changes of the network (noise layers, factors, gates), which `export` undoes.

        Called before anything trains; by `AfterTraining` after the dense network is there, before the first cut.
        """

    def export(self, model: "MaskedModel", run: "Run") -> nn.Module:
        """Return the plain network with masks folded in; override to undo what `prepare` changed."""
        import copy

        plain = copy.deepcopy(model.module)
        plain.load_state_dict(model.folded_state())
        return plain

    def inference_model(self, model: "MaskedModel", exported: nn.Module) -> nn.Module:
        """Return the network whose robustness is measured, where it differs from the exported one (noise layers)."""
        return exported

    def targets(self, run: "Run") -> list[float]:
        """Return the sparsity of each pruning step, increasing; override where the paper's steps are its own."""
        return run.targets()

    def scores(self, model: "MaskedModel") -> Mapping[str, Tensor] | None:
        """Return the scores behind the masks, one per unit, before any masking, for the conformance check.

        Asked whenever masks are set; None where the method does not expose them.
        """
        return None

    def refuses(self, module: nn.Module) -> str | None:
        """Return why this variant cannot prune `module` (a sentence for the user), or None; asked before training."""
        return None

    @property
    def needs_dense(self) -> bool:
        """Whether the method starts from a trained dense network; if not, one is trained for comparison only."""
        return self.stage == "after"

    def dense_settings(self) -> TrainSettings:
        """Return how the dense network is trained: `pretrain` where the method has one, else `train`."""
        phase = getattr(self.settings, "pretrain", None) or getattr(self.settings, "train", None)
        if phase is None:
            raise TypeError(f"{type(self).__name__}.Settings names neither a pretrain nor a train phase")
        return phase


class AfterTraining(Method):
    """pretrain -> prune -> finetune; iterative schedules repeat the last two towards the target.

    `Settings` declares the phases `pretrain` and `finetune` as fields of type `TrainSettings`.
    """

    stage = "after"

    @abstractmethod
    def prune(self, model: "MaskedModel", run: "Run") -> "Masks":
        """Return the masks that reach `run.target` on the pretrained model; called once per round.

        It may train (`run.train`, with a phase of its own) and changes what the model's weights end up as; the masks
        name weights by their canonical names, bool of their shapes, and are put into force afterwards.
        """

    def execute(self, model: "MaskedModel", run: "Run") -> None:
        """Pretrain (or load the cached dense model), prune, finetune."""
        run.pretrain(model, self.dense_settings())
        self.prepare(model, run)
        targets = self.targets(run)
        for number, target in enumerate(targets, start=1):
            last = number == len(targets)
            prefix = "" if len(targets) == 1 else f"round-{number}/"
            run.prune(f"{prefix}prune", model, self.prune, target)
            settings = self.settings.finetune if last else self.retrain_settings()  # type: ignore[attr-defined]
            run.train("finetune" if last else f"{prefix}retrain", model, settings, teacher=self.teacher(model, run))

    def teacher(self, model: "MaskedModel", run: "Run") -> nn.Module | None:
        """Return the teacher of a finetuning that distils, remade from what survives a kill; none by default."""
        return None

    def retrain_settings(self) -> TrainSettings:
        """Return the short training between two rounds: a fifth of the finetuning."""
        from .training.settings import scaled

        return scaled(self.settings.finetune, 0.2)  # type: ignore[attr-defined]


class BeforeTraining(Method):
    """prune -> train; the masks do not change once training has started.

    Where the schedule is iterative, `prune` is called once per target, each time as a phase with a checkpoint of its
    own; a method whose rounds are many and quick returns fewer `targets` and sets masks (`model.set_masks`) in between.

    `Settings` declares the phase `train` as a field of type `TrainSettings`.
    """

    stage = "before"

    @abstractmethod
    def prune(self, model: "MaskedModel", run: "Run") -> "Masks":
        """Return the masks that reach `run.target` on the untrained model (searching may train it)."""

    def execute(self, model: "MaskedModel", run: "Run") -> None:
        """Prune, then train what is left."""
        self.prepare(model, run)
        targets = self.targets(run)
        for number, target in enumerate(targets, start=1):
            prefix = "" if len(targets) == 1 else f"round-{number}/"
            run.prune(f"{prefix}prune", model, self.prune, target)
        run.train("train", model, self.settings.train, dynamics=self.dynamics(model, run))  # type: ignore[attr-defined]

    def dynamics(self, model: "MaskedModel", run: "Run") -> Dynamics | None:
        """Return hooks of the training that follows, which may not move masks; none by default."""
        return None


class DuringTraining(Method):
    """train, with masks that arise or move meanwhile.

    `Settings` declares the phase `train` as a field of type `TrainSettings`. The dynamics works towards `run.target`.
    """

    stage = "during"

    @abstractmethod
    def dynamics(self, model: "MaskedModel", run: "Run") -> Dynamics:
        """Return the hooks that prune while `train` runs."""

    def execute(self, model: "MaskedModel", run: "Run") -> None:
        """Train under the method's dynamics."""
        self.prepare(model, run)
        with run.targeting(self.targets(run)[-1]):
            run.train("train", model, self.settings.train, dynamics=self.dynamics(model, run))  # type: ignore[attr-defined]
