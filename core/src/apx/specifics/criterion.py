"""Which weights matter: saliencies in the shape of the weights, the highest are kept."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..masked_model import MaskedModel
    from ..runner.context import Run


class Criterion(ABC):
    """Scores weights; `label` is the survey's word (LWM, HGM, LIS, RANDOM, ...).

    A plugin offers one by the hook `apx_criteria`, and then any method can take it by name (`masks_by`).
    """

    label: ClassVar[str]

    @abstractmethod
    def scores(self, model: "MaskedModel", names: list[str], run: "Run") -> dict[str, Tensor]:
        """Return weight name -> saliency in the weight's shape, for each of `names`; the highest are kept.

        Saliencies are at least 0, so that those of a unit add up. Weights that `model` masks already have to rank below
        all others (0, where nothing else is), or a later round would revive them. The model is left as it is.
        """


@dataclass(frozen=True)
class Magnitude(Criterion):
    """|w| of the effective weights (LWM)."""

    label = "LWM"

    def scores(self, model: "MaskedModel", names: list[str], run: "Run") -> dict[str, Tensor]:
        """Return the absolute effective weights."""
        return {name: model.fold(name).abs() for name in names}


@dataclass(frozen=True)
class GradientMagnitude(Criterion):
    """|dL/dw| of the run's adversarial cross-entropy over a scoring pass, dense, also at pruned weights (HGM)."""

    label = "HGM"

    def scores(self, model: "MaskedModel", names: list[str], run: "Run") -> dict[str, Tensor]:
        """Return the absolute mean gradient over the training data, 0 for a weight that takes no part."""
        gradients = run.scoring_gradients(model, names)
        return {n: gradients[n].abs() if n in gradients else torch.zeros_like(model.fold(n)) for n in names}


@dataclass(frozen=True)
class RandomScore(Criterion):
    """Uniform random scores, keyed by the run's seed and the weight's name (RANDOM, a baseline)."""

    label = "RANDOM"

    def scores(self, model: "MaskedModel", names: list[str], run: "Run") -> dict[str, Tensor]:
        """Return the same random numbers for the same seed; masked weights rank below all others."""
        drawn = {name: run.random(f"scores/{name}", tuple(model.module.get_parameter(name).shape)) for name in names}
        # an iterative schedule must not revive what an earlier round removed
        return {name: s * model.masks[name] if name in model.masks else s for name, s in drawn.items()}


@dataclass(frozen=True)
class LearnedScore(Criterion):
    """|s| of scores learned elsewhere (LIS), one per weight or broadcastable to the weight's shape."""

    learned: Mapping[str, Tensor]
    label = "LIS"

    def scores(self, model: "MaskedModel", names: list[str], run: "Run") -> dict[str, Tensor]:
        """Return the absolute learned scores, expanded to the weights' shapes."""
        shapes = {name: model.module.get_parameter(name).shape for name in names}
        return {name: self.learned[name].abs().expand(shapes[name]) for name in names}
