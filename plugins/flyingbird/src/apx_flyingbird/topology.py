"""When and how the topology changes while training goes on: drop, grow, and what FlyingBird+ adds."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from apx import Batch, Dynamics, MaskedModel, Masks, Position, Run
from apx.drop_and_grow import drop_lowest, grow_bernoulli, grow_gradient, grow_random
from apx.selection import keep_highest
from apx.specifics import ERK, IGQ, RateStrategy

from .generalisation import Generalisation, rising
from .settings import FlyingBirdSettings


class TopologyUpdates(Dynamics):
    """Random masks at first, then drop and grow every so many steps, up to the last one."""

    def __init__(self, settings: FlyingBirdSettings, run: Run, *, plus: bool) -> None:
        self._settings = settings
        self.run = run
        self._target = run.target
        self._epochs = run.epochs(settings.train)
        self._plus = plus
        self._gradients: dict[str, Tensor] = {}
        self.generalisation = Generalisation(run, settings.train, window=settings.window, val_steps=settings.val_steps)

    # -- when -----------------------------------------------------------------------------------------------------

    def due(self, at: Position) -> bool:
        """Say whether the topology is updated after this step: at multiples of the interval, counted from 1."""
        if self._settings.update_interval is None:
            return False
        late = at.epoch > self._epochs / 2
        interval = self._settings.late_update_interval if late else self._settings.update_interval
        steps = max(1, round(interval * self.run.epochs_scale * at.steps_per_epoch))
        return (at.global_step + 1) % steps == 0

    def death_rate(self, at: Position) -> float:
        """Return the share of active weights that an update after this step drops."""
        s, total = self._settings, self._epochs * at.steps_per_epoch
        return cosine(s.death_rate, s.final_death_rate, (at.global_step + 1) / total)

    def moves(self, epoch: int) -> tuple[bool, bool]:
        """Say whether FlyingBird+ prunes and whether it grows in updates of this epoch; both may be."""
        if not self._plus or epoch < self._settings.plus_start * self._epochs:
            return False, False
        gaps, losses = self.generalisation.gaps, self.generalisation.losses
        if len(gaps) < 2:
            return False, False
        threshold = self._settings.threshold
        return rising(gaps) >= threshold, rising(losses, ties=True) >= threshold

    def measured(self, epoch: int) -> bool:
        """Say whether the numbers of this epoch will be looked at."""
        first = math.ceil(self._settings.plus_start * self._epochs) - self._settings.window - 1
        return self._plus and first <= epoch < self._epochs - 1

    # -- what -----------------------------------------------------------------------------------------------------

    def epoch_start(self, model: MaskedModel, epoch: int) -> None:
        """Draw the first masks before the first step."""
        if epoch == 0:
            model.set_masks(self.first_masks(model))

    def first_masks(self, model: MaskedModel) -> Masks:
        """Return masks that keep each layer's share of weights, drawn without replacement."""
        rates: RateStrategy = IGQ() if self._settings.allocation == "igq" else ERK()
        shapes = {name: tuple(model.module.get_parameter(name).shape) for name in self.run.prunable(model)}
        kept = rates.kept(shapes, self._target, self.run.structure)
        return Masks({name: keep_highest(self.run.random(f"mask/{name}", shapes[name]), kept[name]) for name in shapes})

    def update(self, model: MaskedModel, at: Position) -> Masks:
        """Return the masks after dropping and growing, each layer for itself; dense layers stay as they are."""
        rate, (prune, grow) = self.death_rate(at), self.moves(at.epoch)
        masks = {}
        for name, mask in model.masks.items():
            active = int(mask.sum())
            if active == mask.numel():
                masks[name] = mask
                continue
            weight = model.module.get_parameter(name)
            dropped = math.ceil(rate * active)
            left = drop_lowest(weight, mask, dropped)
            count = active - int(left.sum())  # with ties more than `dropped`
            if prune:
                left = drop_lowest(weight, mask, dropped + math.ceil(rate * self._settings.extra_drop * active))
            masks[name] = self.grown(name, left, count * (1 + self._settings.extra_growth) if grow else count, at)
        return Masks(masks)

    def grown(self, name: str, mask: Tensor, count: float, at: Position) -> Tensor:
        """Return a layer's mask with `count` weights grown; the just dropped are candidates too."""
        official = self._settings.fidelity == "official"
        exact = min(int(count), int((~mask).sum()))
        if self._settings.growth == "gradient":
            return (_grow_in_ranking if official else grow_gradient)(mask, exact, self._gradients[name])
        uniform = self.run.random(f"growth/{at.global_step}/{name}", tuple(mask.shape))
        return grow_bernoulli(mask, count, uniform) if official else grow_random(mask, exact, uniform)

    # -- hooks ----------------------------------------------------------------------------------------------------

    def batch_start(self, model: MaskedModel, batch: Batch, at: Position) -> None:
        """Watch the loss's forward pass where FlyingBird+ wants to know its accuracy."""
        if self.measured(at.epoch):
            self.generalisation.watch(model, batch)

    def after_backward(self, model: MaskedModel, batch: Batch, at: Position) -> None:
        """Keep the dense gradients of a step that ends in an update by gradient."""
        if self._settings.growth == "gradient" and self.due(at):
            average = self.run.environment.processes.average
            self._gradients = {name: average(_dense_gradient(model, name)) for name in model.masks}
        self.generalisation.count(batch)

    def after_step(self, model: MaskedModel, optimizer: torch.optim.Optimizer, at: Position) -> None:
        """Update the topology where it is due; what is new starts at zero with zero momentum."""
        if not self.due(at):
            return
        before = density(model.masks)
        model.set_masks(self.update(model, at))
        model.enforce(optimizer)
        if self._plus and (after := density(model.masks)) != before:
            self.run.progress.note(f"FlyingBird+: density {before:.2%} -> {after:.2%} in epoch {at.epoch + 1}")
        self._gradients = {}

    def epoch_end(self, model: MaskedModel, epoch: int) -> bool:
        """Record gap and validation loss for FlyingBird+."""
        if self.measured(epoch):
            self.generalisation.record(model, epoch)
        return False

    def state(self) -> dict[str, Any]:
        """Return what FlyingBird+ has recorded."""
        return self.generalisation.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore `state()`."""
        self.generalisation.load_state(state)


def cosine(first: float, last: float, progress: float) -> float:
    """Return the value between `first` and `last` at `progress` in [0, 1], on half a cosine wave."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def density(masks: Masks) -> float:
    """Return the share of entries that masks keep."""
    kept = sum(int(mask.sum()) for mask in masks.values())
    return kept / sum(mask.numel() for mask in masks.values())


def _dense_gradient(model: MaskedModel, name: str) -> Tensor:
    gradient = model.dense_gradient(name)
    return torch.zeros_like(model.module.get_parameter(name)) if gradient is None else gradient.clone()


def _grow_in_ranking(mask: Tensor, count: int, gradient: Tensor) -> Tensor:
    """Grow as the official code does: the ranking holds active weights at 0, beside candidates without gradient."""
    ranking = (gradient.abs() * ~mask).flatten().sort(descending=True, stable=True).indices[:count]
    grown = mask.flatten().clone()
    grown[ranking] = True
    return grown.view(mask.shape)
