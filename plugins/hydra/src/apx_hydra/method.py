"""HYDRA (Sehwag et al., NeurIPS 2020, arXiv 2002.10509): pruning as robust risk minimisation over scores."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from apx import AfterTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings
from apx.coupling import couple_filters
from apx.masks import PRUNABLE
from apx.reparametrisation import LearnedScores, scaled_score_init
from apx.selection import pruned_count
from apx.training import quick

_TRADES = {"objective": "trades", "eps": 0.031, "alpha": 0.0078, "steps": 10, "beta": 6.0}
_SGD = {"batch_size": 128, "weight_decay": 1e-4, "lr_schedule": "hydra-cosine"}


class HydraSettings(MethodSettings):
    """Defaults: the official scripts for CIFAR-10 and SVHN, ResNet18 and VGG16 alike."""

    pretrain: TrainSettings = TrainSettings(epochs=100, lr=0.1, **_TRADES, **_SGD)
    prune: TrainSettings = TrainSettings(epochs=20, lr=0.1, **_TRADES, **_SGD)
    finetune: TrainSettings = TrainSettings(epochs=100, lr=0.01, **_TRADES, **_SGD)


class Hydra(AfterTraining):
    """Learn one score per weight on the frozen pretrained network; keep each layer's highest |scores|; finetune.

    Scores start at the scaled weights (paper eq. 2), so that zero search epochs give magnitude pruning. With filters
    (a reconstruction: the paper reports it without code) there is one score per output filter, and what belongs to a
    removed filter (bias, batch norm) is masked with it.
    """

    slug = "hydra"
    Settings = HydraSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "pretrain": quick.PRETRAIN,
            "prune": {**quick.SEARCH, "lr": 1e-2},
            "finetune": quick.FINETUNE,
        },
    }
    settings: HydraSettings

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Train scores and batch-norm affine parameters against frozen weights, then fix the masks (section 3)."""
        per_filter = self.variant.granularity == "filters"
        for name in run.prunable(model):
            weight = model.fold(name)
            scores = scaled_score_init(weight, per_filter=per_filter)
            model.reparametrise(name, LearnedScores(scores, self._kept(weight, run.target)))
        run.train("scores", model, self.settings.prune, parameters=searched_parameters(model))
        masks = model.current_masks()
        model.drop_reparametrisations()
        if per_filter and self.settings.fidelity == "paper":
            filters = {name: masks[name] for name in run.prunable(model)}
            masks = couple_filters(model.module, filters, run.example)
        return masks

    def _kept(self, weight: Tensor, sparsity: float) -> int:
        if self.variant.granularity == "filters":
            return max(1, round((1.0 - sparsity) * len(weight)))
        return weight.numel() - pruned_count(sparsity, weight.numel())


def searched_parameters(model: MaskedModel) -> list[nn.Parameter]:
    """Return the scores and what is neither weight nor bias of a convolution or linear layer (batch norm's affine)."""
    frozen = {
        id(parameter)
        for layer in model.module.modules()
        if isinstance(layer, PRUNABLE)
        for parameter in layer.parameters(recurse=False)
    }
    return [parameter for parameter in model.parameters() if id(parameter) not in frozen]
