"""The global budget: what it counts, the pressure that the search puts on it, and how the end meets it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from apx import Batch, Dynamics, MaskedModel, Position, UserError

from .flops import Layer
from .rates import RatedScores

_FAR = 60.0  # a shift of the quotas at which every rate is at its end in float64


class Budget(ABC):
    """What all layers may spend together, as a function of the share of its units that each layer keeps.

    Args:
        units: how many weights or input channels each layer has.
        target: what may be spent.
    """

    def __init__(self, units: Sequence[int], target: float) -> None:
        self.units = torch.tensor(units, dtype=torch.float64)
        self.target = target

    @abstractmethod
    def spent(self, shares: Tensor) -> Tensor:
        """Return what layers with these shares [layers] spend, float64, 0-dim, differentiable."""

    def overshoot(self, shares: Tensor) -> Tensor:
        """Return L_hw = max(spent / target - 1, 0)."""
        return torch.clamp(self.spent(shares) / self.target - 1, min=0)


class Weights(Budget):
    """A share of all weights."""

    def __init__(self, units: Sequence[int], rate: float) -> None:
        super().__init__(units, rate * sum(units))

    def spent(self, shares: Tensor) -> Tensor:
        """Return the number of weights kept."""
        return (self.units.to(shares.device) * shares.double()).sum()


class Flops(Budget):
    """Operations where a layer writes the share of its channels that the next layer, in definition order, reads.

    On residual streams this is an estimate: the next layer is not always the one that reads. The last layer writes
    all its outputs.

    Args:
        layers: in definition order.
        target: operations; None for those that `rate` leaves.
        rate: the share of the input channels that each layer would keep alike, rounded and at least one channel.
    """

    def __init__(self, layers: Sequence[Layer], rate: float, target: float | None = None) -> None:
        self.layers = layers
        super().__init__([layer.inputs for layer in layers], target or 0.0)
        if target is None:
            shares = [max(1, round(rate * layer.inputs)) / layer.inputs for layer in layers]
            self.target = float(self.spent(torch.tensor(shares, dtype=torch.float64)))

    def spent(self, shares: Tensor) -> Tensor:
        """Return the operations of one image."""
        shares = shares.double()
        written = torch.cat([shares[1:], shares.new_ones(1)])
        parts = [
            layer.flops(layer.inputs * read, layer.outputs * write)
            for layer, read, write in zip(self.layers, shares, written, strict=True)
        ]
        return torch.stack([torch.as_tensor(part) for part in parts]).sum()


class Pressure(Dynamics):
    """The loss term gamma_e L_hw with gamma_e = gamma (e + 1), until an epoch ends within the budget (section 3).

    From the first such epoch on gamma stays as it was there, and states may be handed over as the best.
    """

    def __init__(self, layers: Mapping[str, RatedScores], budget: Budget, gamma: float) -> None:
        self.frozen: float | None = None
        self._layers = layers
        self._budget = budget
        self._gamma = gamma

    def gamma(self, epoch: int) -> float:
        """Return the weight of the budget in a 0-based epoch."""
        return self._gamma * (epoch + 1) if self.frozen is None else self.frozen

    def overshoot(self) -> Tensor:
        """Return L_hw at the current rates, which are not rounded to whole units."""
        return self._budget.overshoot(rates(self._layers))

    def loss_terms(self, model: MaskedModel, batch: Batch, at: Position) -> Tensor:
        """Return gamma_e L_hw."""
        return self.gamma(at.epoch) * self.overshoot().float()

    def may_hand_over(self, model: MaskedModel, epoch: int) -> bool:
        """Tell whether the budget has been met, now or at the end of an earlier epoch."""
        return self.frozen is not None or self._met()

    def epoch_end(self, model: MaskedModel, epoch: int) -> bool:
        """Freeze gamma once the budget is met."""
        if self.frozen is None and self._met():
            self.frozen = self.gamma(epoch)
        return False

    def _met(self) -> bool:
        return round(float(self.overshoot().detach()), 4) == 0.0

    def state(self) -> dict[str, Any]:
        """Return the frozen gamma."""
        return {"frozen": self.frozen}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the frozen gamma."""
        self.frozen = state["frozen"]


def rates(layers: Mapping[str, RatedScores]) -> Tensor:
    """Return the layers' rates [layers], differentiable in their quotas."""
    return torch.stack([layer.rate() for layer in layers.values()])


def met(budget: Budget, shares_at: Callable[[float], Tensor], groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the number of units that each layer keeps so that the budget is met as nearly as whole units can.

    Bisection finds the one shift of all quotas at which the layers spend the budget; units are rounded down, and the
    rest goes to the layers with the largest remainders, one unit each, as far as the budget allows.

    Args:
        budget: what may be spent.
        shares_at: the layers' rates [layers], float64, at a shift of all quotas; increasing in each layer.
        groups: indices of layers that share their rate, and so gain units together; each layer is in one.

    Raises:
        UserError: the lowest rates spend more than the budget.
    """
    units = budget.units

    def shares(shift: float) -> Tensor:
        return torch.maximum(shares_at(shift), 1 / units)

    def spends(kept: Tensor) -> float:
        return float(budget.spent(kept / units))

    allowed = budget.target * (1 + 1e-9)
    low, high = -_FAR, _FAR
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if spends(shares(middle) * units) <= allowed else (low, middle)
    exact = shares(low) * units
    kept = torch.floor(exact)
    if spends(kept) > allowed:
        raise UserError("the layers' lowest rates spend more than the sparsity allows; ask for less sparsity")
    for group in sorted(groups, key=lambda g: float((exact - kept)[g[0]]), reverse=True):
        more = kept.clone()
        more[list(group)] = torch.minimum(kept + 1, units)[list(group)]
        if spends(more) <= allowed:
            kept = more
    return [int(count) for count in kept]
