"""What a training phase is told: objective, attack, optimiser, learning-rate schedule."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def parse_fraction(value: object) -> object:
    """Accept `8/255` for a number; everything else is passed on to be judged by pydantic."""
    if isinstance(value, str) and value.count("/") == 1:
        numerator, denominator = value.split("/")
        return float(numerator) / float(denominator)
    return value


Radius = Annotated[float, BeforeValidator(parse_fraction), Field(ge=0)]


class TrainSettings(BaseModel):
    """One training phase. Lengths are in epochs, radii in pixel units of [0, 1]; `None` eps is the dataset's threat."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(100, ge=0)
    batch_size: int = Field(128, ge=1)

    objective: str = Field("trades", description="what the phase minimises: nat, pgd, fgsm-rs, trades, mart, kd, ...")
    eps: Radius | None = Field(None, description="training radius; the dataset's threat where None")
    alpha: Radius | None = Field(None, description="attack step; 2.5 eps / steps (at most eps) where None")
    steps: int = Field(10, ge=0, description="attack steps")
    beta: float = Field(6.0, ge=0, description="weight of the robust term (TRADES, MART)")
    attack_bn: Literal["eval", "train"] | None = Field(None, description="the objective's own where None")
    options: dict[str, Any] = Field(default_factory=dict, description="further options of the objective")

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    lr_schedule: Literal["constant", "cosine", "shifted-cosine", "step", "cyclic"] = "cosine"
    milestones: tuple[float, ...] = Field((), description="fractions of the phase at which a step schedule decays")
    first_epoch: Literal[0, 1] = Field(0, description="where a step schedule starts counting epochs")
    lr_decay: float = Field(0.1, gt=0, description="factor at each milestone")
    cyclic_peak: float = Field(0.5, gt=0, lt=1, description="where a cyclic schedule peaks, as a fraction")

    lr_period: int | None = Field(None, ge=1, description="epochs after which the schedule starts again; None: never")
    warmup_epochs: int = Field(0, ge=0, description="first epochs, in which the rate rises linearly from warmup_lr")
    warmup_lr: float = Field(0.0, ge=0, description="rate of the first warm-up epoch")

    augment: bool = True
    handover: Literal["last", "best"] = Field("last", description="state handed on: last epoch or best on validation")
    val_steps: int = Field(10, ge=0, description="PGD steps when `best` is judged on validation data")


def scaled(settings: TrainSettings, factor: float) -> TrainSettings:
    """Return the settings with `factor` times the epochs, the schedule's period and the warm-up.

    Epochs and period are rounded and at least 1 where there were any; a warm-up may vanish.
    """
    changed: dict[str, Any] = {"epochs": at_least_one(settings.epochs * factor) if settings.epochs else 0}
    if settings.lr_period is not None:
        changed["lr_period"] = at_least_one(settings.lr_period * factor)
    changed["warmup_epochs"] = round(settings.warmup_epochs * factor)
    return settings.model_copy(update=changed)


def at_least_one(epochs: float) -> int:
    """Return the nearest whole number of epochs, at least 1."""
    return max(1, round(epochs))


Settings = TypeVar("Settings", bound=BaseModel)


def with_options(settings: Settings, **options: Any) -> Settings:
    """Return a method's settings with `options` added to those of every training phase (its own win)."""
    changed = {}
    for name in type(settings).model_fields:
        phase = getattr(settings, name)
        if isinstance(phase, TrainSettings):
            changed[name] = phase.model_copy(update={"options": {**options, **phase.options}})
    return settings.model_copy(update=changed)
