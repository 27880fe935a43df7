"""SynFlow: prune at initialisation by iterative synaptic flow, without data, then train what is left adversarially.

Tanaka, Kunin, Yamins, Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic flow",
NeurIPS 2020, arXiv 2006.05467.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from apx import ApxError, BeforeTraining, MaskedModel, Masks, Run, Variant
from apx.masks import weight_names
from apx.specifics import Global, Locality, masks_from_units
from apx.training import quick

from .flow import SynapticFlow, synaptic_flow
from .initial import kaiming_normal
from .settings import SynflowSettings
from .threshold import Threshold

PHASES = 4  # of pruning, at most: what a killed run may have to repeat is a quarter of the rounds


class Synflow(BeforeTraining):
    """Algorithm 1 of the paper, then training with fixed masks."""

    slug = "synflow"
    Settings = SynflowSettings
    # Kaiming-normal logits are large at first: a few epochs of PGD with one step then end without robustness
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {"train": quick.PRETRAIN, "init": "network"}}
    settings: SynflowSettings

    def __init__(self, settings: SynflowSettings, variant: Variant) -> None:
        """Start without scores; see `Method`."""
        super().__init__(settings, variant)
        self._scores: Mapping[str, Tensor] | None = None

    def refuses(self, module: nn.Module) -> str | None:
        """Return why `fidelity=official` cannot be had: the official code prunes weights only."""
        if self._official and self.variant.structure == "S":
            return "fidelity=official prunes single weights, as the published code does; leave it at paper for filters."
        return None

    def prepare(self, model: MaskedModel, run: Run) -> None:
        """Draw the weights that are scored, and trained later."""
        if self.settings.init == "kaiming-normal":
            kaiming_normal(model.module, run, "init")

    def targets(self, run: Run) -> list[float]:
        """Return 1 - rho at the end of each phase; a phase is several rounds, since each phase leaves a checkpoint."""
        schedule = self._schedule(run)
        ends = {math.ceil(len(schedule) * phase / PHASES) for phase in range(1, PHASES + 1)}
        return [schedule[end - 1] for end in sorted(ends)]

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Linearise, let ones flow through, keep the share rho_k that carries most; for this phase's rounds k."""
        for sparsity in self._rounds(run):
            with run.targeting(sparsity):
                flow = self._flow(model, run)
                self._scores = {name: run.structure.reduce(weights) for name, weights in flow.items()}
                model.set_masks(masks_from_units(self._scores, model, run, self._locality(run)))
        if run.target == self.targets(run)[-1]:
            self._finish(model, run)
        return model.masks

    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        """Return the scores behind the masks, so that the conformance check can rank them again."""
        return self._scores

    @property
    def _official(self) -> bool:
        return self.settings.fidelity == "official"

    def _schedule(self, run: Run) -> list[float]:
        """Return 1 - rho_k for k = 1..n, without repetitions (rho = 1); n = 1 where the variant is 1S."""
        exponential = super().targets(run)
        n = len(exponential)
        linear = [exponential[-1] * k / n for k in range(1, n + 1)]
        return sorted(set(exponential if self.settings.densities == "exponential" else linear))

    def _rounds(self, run: Run) -> list[float]:
        """Return 1 - rho_k for the rounds k of the phase that ends at `run.target`."""
        before = max((end for end in self.targets(run) if end < run.target), default=-1.0)
        return [sparsity for sparsity in self._schedule(run) if before < sparsity <= run.target]

    def _flow(self, model: MaskedModel, run: Run) -> dict[str, Tensor]:
        """Return S of the weights that are ranked; cut-off weights at 0 only where the official code is reproduced."""
        dtype = torch.float64 if self.settings.score_dtype == "float64" else torch.float32
        names = self._ranked(model, run)
        if self._official:
            return synaptic_flow(model, names, run.data.image_shape, batch_norm=self.settings.batch_norm, dtype=dtype)
        return SynapticFlow(self.settings.batch_norm, dtype).scores(model, names, run)

    def _ranked(self, model: MaskedModel, run: Run) -> list[str]:
        """Return the names of the N weights' tensors."""
        names = run.prunable(model)
        if not self.settings.dense_classifier:
            return names
        others = set(weight_names(model.module, exclude=("classifier",)))
        return [name for name in names if name in others]

    def _locality(self, run: Run) -> Locality:
        """Return how round k's share is taken from the scores."""
        across = self.variant.locality == "G"
        if self._official:
            return Threshold(across)
        return Global(at_least=1 if self.variant.structure == "S" else 0, round_down=True) if across else run.locality

    def _finish(self, model: MaskedModel, run: Run) -> None:
        """Check the count as the official code does, and redraw the weights where that is asked for."""
        if self._official:
            check_count(model.masks, 1 - run.target)
        if self.settings.reinitialise:
            kaiming_normal(model.module, run, "reinitialise")


def check_count(masks: Masks, rho: float) -> None:
    """Raise unless |sum m - rho N| < 5, as the official code does.

    Raises:
        ApxError: with the counts; scores that tie at the threshold are the usual reason.
    """
    total = sum(mask.numel() for mask in masks.values())
    kept = sum(int(mask.sum()) for mask in masks.values())
    if abs(kept - rho * total) >= 5:
        raise ApxError(
            f"the official threshold keeps {kept} of {total} weights where {rho * total:.1f} were asked: "
            "scores tie at the threshold; --set fidelity=paper counts exactly."
        )
