"""What core itself offers, through the same hooks as any plugin. Nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .datasets import Dataset
    from .specifics import Criterion
    from .training.objectives import Objective


@hookimpl
def apx_architectures() -> dict[str, Callable[..., nn.Module]]:
    """Offer the benchmark's networks and a few small ones."""
    from .architectures import builtin_architectures

    return builtin_architectures()


@hookimpl
def apx_datasets() -> dict[str, Callable[..., Dataset]]:
    """Offer digits and torchvision's sets."""
    from .datasets import builtin_datasets

    return builtin_datasets()


@hookimpl
def apx_objectives() -> dict[str, type[Objective]]:
    """Offer natural, adversarial and distillation training."""
    from .training.objectives import BUILTIN

    return dict(BUILTIN)


@hookimpl
def apx_criteria() -> dict[str, type[Criterion]]:
    """Offer the criteria that the baselines consist of, by the taxonomy's names.

    `LearnedScore` is not among them: it is made from scores that a method has learned, which no name stands for.
    """
    from .specifics import BUILTIN_CRITERIA

    return dict(BUILTIN_CRITERIA)


@hookimpl
def apx_attacks() -> dict[str, Callable[..., Tensor]]:
    """Offer the evaluation's own attacks, so that their names are taken.

    By these names `evaluate` takes ways of its own, with more in the results document; the functions do the same.
    """
    from .evaluation.catalogue import ATTACKS, as_function

    return {name: as_function(name) for name in ATTACKS}
