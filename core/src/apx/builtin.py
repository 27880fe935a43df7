"""What core itself offers, through the same hooks as any plugin. Nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import nn

    from .datasets import Dataset


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
def apx_objectives() -> dict[str, Any]:
    """Offer natural, adversarial and distillation training."""
    from .training.objectives import BUILTIN

    return dict(BUILTIN)


@hookimpl
def apx_criteria() -> dict[str, Any]:
    """Offer the criteria that the baselines consist of, by the taxonomy's names."""
    from .specifics import GradientMagnitude, LearnedScore, Magnitude, RandomScore

    return {"LWM": Magnitude, "HGM": GradientMagnitude, "LIS": LearnedScore, "RANDOM": RandomScore}


@hookimpl
def apx_attacks() -> dict[str, Callable[..., Any]]:
    """Offer the one-step and the iterated gradient attack."""
    from .attacks import fgsm, pgd

    return {"fgsm": fgsm, "pgd": pgd}
