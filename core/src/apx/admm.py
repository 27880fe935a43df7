"""Pruning by ADMM: weights are pulled towards their projection on the sparse set while they train.

Scaled form (Boyd et al., Foundations and Trends in Machine Learning, 2011; Zhang et al., ECCV 2018, for pruning): for
each layer a duplicate Z in the sparse set and a dual U, of the weight's shape.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .masks import Masks
from .selection import keep_highest
from .specifics import Locality, Structure, masks_from
from .training.dynamics import Dynamics, Position

if TYPE_CHECKING:
    from .masked_model import MaskedModel
    from .runner.context import Run
    from .training.objectives import Batch

Projection = Callable[[str, Tensor], Tensor]


def project(weight: Tensor, structure: Structure, kept: int) -> Tensor:
    """Return the nearest tensor with only `kept` units: those of largest l2 norm stay, the others are zero.

    A new tensor; `weight` [out, in, ...] is left alone. Ties fall by position, as everywhere in `apx.selection`.
    """
    units = keep_highest(structure.reduce(energy(weight)), kept)
    return weight * structure.expand(units, weight.shape)


def energy(weight: Tensor) -> Tensor:
    """Return the squared entries in float64, where squares of float32 numbers are exact and keep their order."""
    return weight.detach().double().square()


def sparse_projection(model: "MaskedModel", run: "Run") -> Projection:
    """Return the projection (weight name, tensor) -> tensor on what the variant's rates allow at `run.target`."""
    kept = run.kept(model)
    return lambda name, tensor: project(tensor, run.structure, kept[name])


def cut(
    model: "MaskedModel", run: "Run", names: Iterable[str] | None = None, locality: Locality | None = None
) -> Masks:
    """Return the masks of the final projection: each layer's units of largest l2 norm at `run.target`.

    `names` are the weights that were constrained, all prunable ones where None; `locality` replaces the variant's.
    """
    chosen = run.prunable(model) if names is None else names
    return masks_from({name: energy(model.fold(name)) for name in chosen}, model, run, locality)


class ADMM(Dynamics):
    """Adds sum_l rho/2 ||W - Z + U||^2 to the loss, and updates rho, Z and U at the start of every interval.

    W-step: the optimiser, on loss and penalty. At the first batch of epochs T, 2T, ...: rho <- growth rho,
    Z <- proj(W + U), U <- U + W - Z. Before that Z = proj(W), U = 0.

    Args:
        names: the weights to constrain.
        project: (name, tensor) -> projection on the sparse set, a new tensor.
        interval: T, epochs between two updates.
        rho: the penalty's weight at the start.
        growth: what rho is multiplied by at each update; U is not rescaled.
        largest_rho: where rho stops growing.
        renew: set Z = proj(W) anew at the start of every epoch (U is kept); an update's epoch updates after that.
        attached_duals: count the penalty's gradient 1 + k times after k updates, as code does whose U keeps its
            autograd history (U then depends on W itself).
    """

    def __init__(
        self,
        names: Iterable[str],
        project: Projection,
        *,
        interval: int,
        rho: float,
        growth: float = 1.0,
        largest_rho: float = math.inf,
        renew: bool = False,
        attached_duals: bool = False,
    ) -> None:
        self._names = list(names)
        self._project = project
        self._interval = interval
        self._growth = growth
        self._largest_rho = largest_rho
        self._renew = renew
        self._attached = attached_duals
        self.rho = rho
        self.updates = 0
        self.z: dict[str, Tensor] = {}
        self.u: dict[str, Tensor] = {}

    def batch_start(self, model: "MaskedModel", batch: "Batch", at: Position) -> None:
        """Initialise or update Z and U where an epoch begins; W does not change before the penalty is assembled."""
        if at.step != 0:
            return
        if self._renew or not self.z:
            self.restart(model)
        if at.epoch and at.epoch % self._interval == 0:
            self.update(model)

    @torch.no_grad()
    def restart(self, model: "MaskedModel") -> None:
        """Set Z = proj(W); U stays, zero at first."""
        for name in self._names:
            weight = model.module.get_parameter(name).detach()
            self.z[name] = self._project(name, weight)
            self.u.setdefault(name, torch.zeros_like(weight))

    @torch.no_grad()
    def update(self, model: "MaskedModel") -> None:
        """Let rho grow, project, and move the duals."""
        self.rho = min(self._largest_rho, self._growth * self.rho)
        self.updates += 1
        for name in self._names:
            weight = model.module.get_parameter(name).detach()
            self.z[name] = self._project(name, weight + self.u[name])
            self.u[name] = self.u[name] + weight - self.z[name]

    def loss_terms(self, model: "MaskedModel", batch: "Batch", at: Position) -> Tensor:
        """Return the penalty at the current weights."""
        return self.penalty(model)

    def penalty(self, model: "MaskedModel") -> Tensor:
        """Return sum_l rho/2 ||W - Z + U||^2 over all constrained layers, a scalar."""
        residuals = [model.module.get_parameter(name) - self.z[name] + self.u[name] for name in self._names]
        penalty = self.rho / 2 * torch.stack([residual.square().sum() for residual in residuals]).sum()
        return penalty + self.updates * (penalty - penalty.detach()) if self._attached else penalty

    def state(self) -> dict[str, Any]:
        """Return Z, U, rho and the number of updates."""
        return {"z": dict(self.z), "u": dict(self.u), "rho": self.rho, "updates": self.updates}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore Z, U, rho and the number of updates."""
        self.z, self.u = dict(state["z"]), dict(state["u"])
        self.rho, self.updates = state["rho"], state["updates"]
