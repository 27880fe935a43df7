"""HYDRA (Sehwag et al., NeurIPS 2020, arXiv 2002.10509): pruning as robust risk minimisation over scores."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from apx import AfterTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings, Variant
from apx.coupling import couple_filters
from apx.masks import normalisation_layers
from apx.reparametrisation import LearnedScores, scaled_score_init
from apx.selection import pruned_count
from apx.training import quick
from apx.training.settings import with_options

_TRADES: Mapping[str, Any] = {"objective": "trades", "eps": 0.031, "alpha": 0.0078, "steps": 10, "beta": 6.0}
_SGD: Mapping[str, Any] = {"batch_size": 128, "momentum": 0.9, "weight_decay": 1e-4, "lr_schedule": "shifted-cosine"}


class HydraSettings(MethodSettings):
    """Defaults: the official scripts for CIFAR-10 and SVHN, ResNet18 and VGG16 alike."""

    pretrain: TrainSettings = Field(
        TrainSettings(epochs=100, lr=0.1, **_TRADES, **_SGD), description="the dense network; its last epoch is pruned"
    )
    prune: TrainSettings = Field(
        TrainSettings(epochs=20, lr=0.1, **_TRADES, **_SGD),
        description="the search for scores, weights frozen; 0 epochs give magnitude pruning (the paper's LWM)",
    )
    finetune: TrainSettings = Field(
        TrainSettings(epochs=100, lr=0.01, **_TRADES, **_SGD),
        description="training of what is left, scores frozen; 0 epochs leave the hidden sub-network as found",
    )


class Hydra(AfterTraining):
    """Learn one score per weight on the frozen pretrained network; keep each layer's highest |scores|; finetune.

    Scores start at the scaled weights (paper eq. 2), so that zero search epochs give magnitude pruning. With filters
    (a reconstruction: the paper reports it without code) there is one score per output filter, and what belongs to a
    removed filter (bias, batch norm) is masked with it. With `fidelity="official"` batch norm stays under removed
    filters, and each TRADES step makes one more clean forward pass in train mode, which moves batch-norm statistics.
    """

    slug = "hydra"
    Settings = HydraSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "pretrain": quick.PRETRAIN,
            "prune": quick.SEARCH,
            "finetune": quick.FINETUNE,
        },
    }
    settings: HydraSettings

    def __init__(self, settings: HydraSettings, variant: Variant) -> None:
        official = settings.fidelity == "official"
        super().__init__(with_options(settings, logging_pass=True) if official else settings, variant)

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Train scores and batch-norm affine parameters against frozen weights, then fix the masks (section 3)."""
        per_filter = self.variant.granularity == "filters"
        for name in run.prunable(model):
            weight = model.fold(name)
            scores = scaled_score_init(weight, per_filter=per_filter)
            model.reparametrise(name, LearnedScores(scores, self.kept(weight, run.target)))
        run.train("scores", model, self.settings.prune, parameters=searched_parameters(model))
        masks = model.current_masks()
        model.drop_reparametrisations()
        if per_filter and self.settings.fidelity == "paper":
            filters = {name: masks[name] for name in run.prunable(model)}
            masks = couple_filters(model.module, filters, run.example)
        return masks

    def kept(self, weight: Tensor, sparsity: float) -> int:
        """Return how many scores of a layer survive: n - floor(s n) weights, or round((1 - s) n) filters."""
        if self.variant.granularity == "filters":
            return max(1, round(round((1.0 - sparsity) * len(weight), 9)))
        return weight.numel() - pruned_count(sparsity, weight.numel())


def searched_parameters(model: MaskedModel) -> list[nn.Parameter]:
    """Return what the search trains: the scores, and the affine parameters of normalisation layers."""
    affine = [p for layer in normalisation_layers(model.module) for p in layer.parameters(recurse=False)]
    return [*model.reparametrisations.parameters(), *affine]
