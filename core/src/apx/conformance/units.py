"""Counting units: how many of a layer's weights, filters, channels, kernels or multiply-adds the masks keep."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..cost import output_positions
from ..specifics import Structure, Weights, structure_of
from .trial import Trial


@dataclass(frozen=True)
class Count:
    """One layer's units: how many stay, how many there are, and what one of them is worth in the sparsity's unit."""

    kept: int
    total: int
    worth: float = 1.0


def layer_mask(trial: Trial, name: str) -> Tensor:
    """Return the final mask of a weight, all True where it has none."""
    shape = trial.module.get_parameter(name).shape
    return trial.masks[name].cpu() if name in trial.masks else torch.ones(shape, dtype=torch.bool)


def alive_units(mask: Tensor, structure: Structure) -> Tensor:
    """Return the bool mask over units: a unit with any weight left is alive."""
    return structure.reduce(mask.double()) > 0


def broken_units(alive: Tensor, structure: Structure) -> int:
    """Return how many units have lost some of their weights and not all."""
    whole = structure.expand(alive_units(alive, structure), alive.shape)
    partial = structure.reduce((whole & ~alive).double()) > 0
    return int(partial.sum())


def judged_structure(trial: Trial) -> Structure:
    """Return the structure in which counts are judged: the claimed one, or weights where units are not whole.

    Units that were never whole cannot be counted; that is the granularity claim's fault, not that of the counts.
    """
    claimed = structure_of(trial.subject.variant.granularity)
    if any(broken_units(layer_mask(trial, name), claimed) for name in trial.names):
        return Weights()
    return claimed


def counts(trial: Trial, structure: Structure) -> dict[str, Count]:
    """Count each prunable layer's units of `structure`."""
    return {name: _count(layer_mask(trial, name), structure) for name in trial.names}


def slack(trial: Trial, structure: Structure) -> dict[str, int]:
    """Return what one unit of the claimed granularity amounts to in units of `structure`, by layer."""
    claimed = structure_of(trial.subject.variant.granularity)
    shapes = {name: layer_mask(trial, name).shape for name in trial.names}
    return {name: max(1, structure.count(s) // claimed.count(s)) for name, s in shapes.items()}


def costs(trial: Trial, structure: Structure) -> tuple[dict[str, Count], dict[str, float]]:
    """Count each prunable layer in the variant's `sparsity_unit`, and say what one unit of granularity is worth in it.

    `structure` is the one in which counts are judged; multiply-adds (`macs`) are weights times output positions.
    """
    unit = trial.subject.variant.sparsity_unit
    if unit == "macs":
        positions = output_positions(trial.module, trial.example)
        counted = counts(trial, Weights())
        worth = {name: float(positions[name]) for name in counted}
        weighted = {name: Count(c.kept, c.total, worth[name]) for name, c in counted.items()}
        return weighted, {name: n * worth[name] for name, n in slack(trial, Weights()).items()}
    counted_in = structure if unit == trial.subject.variant.granularity else structure_of(unit)
    return counts(trial, counted_in), {name: float(n) for name, n in slack(trial, counted_in).items()}


def _count(mask: Tensor, structure: Structure) -> Count:
    alive = alive_units(mask, structure)
    return Count(int(alive.sum()), alive.numel())
