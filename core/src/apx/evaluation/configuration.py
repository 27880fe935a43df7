"""The configurations of FMN that HO-FMN searches: loss, optimiser, scheduler and their hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from ..errors import UserError
from ..lookup import choose
from .margins import LOSSES

OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "SGD": ("lr", "momentum", "weight_decay", "dampening"),
    "Adam": ("lr", "weight_decay", "beta1", "beta2"),
    "Adamax": ("lr", "weight_decay", "beta1", "beta2"),
}
"""Optimisers and the hyperparameters that each has."""

SCHEDULERS: dict[str | None, tuple[str, ...]] = {
    "CALR": ("eta_min",),
    "RLROP": ("factor", "patience", "threshold"),
    None: (),
}
"""Schedulers (cosine annealing, reduction on plateaus, none) and the hyperparameters that each has."""

# lowest and highest value; what the optimisers and schedulers allow, wider than what is searched
_LIMITS = {
    "lr": (1e-12, float("inf")),
    "momentum": (0.0, float("inf")),
    "weight_decay": (0.0, float("inf")),
    "dampening": (0.0, 1.0),
    "beta1": (0.0, 1.0 - 1e-9),
    "beta2": (0.0, 1.0 - 1e-9),
    "eta_min": (0.0, float("inf")),
    "factor": (0.0, 1.0 - 1e-9),
    "patience": (0, float("inf")),
    "threshold": (0.0, 1.0),
}


@dataclass(frozen=True)
class Configuration:
    """A configuration of FMN; the defaults are those of the attack's authors.

    Attributes:
        loss: LL (logit margin), CE (cross-entropy) or DLR (difference-of-logits ratio).
        optimizer: SGD, Adam or Adamax, as in torch.
        scheduler: CALR (cosine annealing), RLROP (reduction on plateaus, per sample) or None.
        lr: first learning rate; with SGD the first step in each pixel.
        momentum, dampening: of SGD.
        beta1, beta2: of Adam and Adamax.
        weight_decay: pulls the perturbation to zero.
        eta_min: what CALR falls to; lr / 100 where None.
        factor, patience, threshold: of RLROP, as in torch's `ReduceLROnPlateau`.

    Raises:
        UserError: an unknown name, or a hyperparameter outside its range.
    """

    loss: str = "LL"
    optimizer: str = "SGD"
    scheduler: str | None = "CALR"
    lr: float = 1.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    dampening: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eta_min: float | None = None
    factor: float = 0.5
    patience: int = 2
    threshold: float = 1e-4

    def __post_init__(self) -> None:
        choose(LOSSES, self.loss, "loss")
        choose(OPTIMIZERS, self.optimizer, "optimizer")
        if self.scheduler is not None:
            choose({name: used for name, used in SCHEDULERS.items() if name}, self.scheduler, "scheduler", also="null")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"the hyperparameter {name} of FMN is {value}: it must lie in [{low:g}, {high:g}]")

    def as_dict(self) -> dict[str, Any]:
        """Return the names and the hyperparameters that they use; JSON types only."""
        used = ("loss", "optimizer", "scheduler", *OPTIMIZERS[self.optimizer], *SCHEDULERS[self.scheduler])
        return {name: getattr(self, name) for name in used}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration that `as_dict` gave `values` of; what is absent has its default.

        Raises:
            UserError: a key that no configuration has, or a value that is not allowed.
        """
        known = {field.name: field for field in fields(cls)}
        for key in values:
            choose(known, key, "hyperparameter of FMN")
        return cls(**values)
