"""HARP (Zhao and Wressnegger, ICLR 2023, arXiv 2412.14714): layer rates and scores learned against a global budget."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from apx import AfterTraining, MaskedModel, Masks, Run, Variant
from apx.masks import normalisation_layers
from apx.reparametrisation import scaled_score_init
from apx.selection import keep_highest
from apx.training import quick
from apx.training.settings import with_options

from .budget import Budget, Flops, Pressure, Weights, met, rates
from .flops import layers_of, uniform_target
from .initial import initial_rates
from .rates import RatedScores, followed, kept_channels, kept_weights, quota_of, rate_of
from .settings import HarpSettings


class Harp(AfterTraining):
    """Learn each layer's rate and its scores on the frozen pretrained network under a growing pressure; finetune.

    A rate is a_l = g(r_l) of a trainable quota r_l; the layer's top a_l scores stay. The budget, shared by all layers,
    is a share of the weights, or with channels the operations that this share of the input channels everywhere would
    leave; a shortcut then takes the rate of its block's first layer. Once the search has ended, one shift of all
    quotas makes whole units meet the budget. With `fidelity="official"` rates under the budget stay as they are,
    channel scores start from the code's mixed-up sums, output maps are not rounded down, scores alone are learned at
    the rate g(1), and each step makes one more clean forward pass in train mode.
    """

    slug = "harp"
    Settings = HarpSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "pretrain": quick.PRETRAIN,
            "prune": quick.SEARCH,
            "finetune": quick.FINETUNE,
            "gamma_weights": 1.0,
            "gamma_channels": 1.0,
            "quota_lr": 10.0,
        },
    }
    settings: HarpSettings

    def __init__(self, settings: HarpSettings, variant: Variant) -> None:
        self.official = settings.fidelity == "official"
        super().__init__(with_options(settings, logging_pass=True) if self.official else settings, variant)
        self.channels = variant.granularity == "channels"

    def refuses(self, module: nn.Module) -> str | None:
        """Refuse starting rates that are defined for weights alone."""
        if self.channels and self.settings.start != "uniform":
            return f"start={self.settings.start} gives rates of weights; use start=uniform with --structure S"
        return None

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Train rates, scores and batch-norm affine parameters against frozen weights, then fix the masks."""
        layers = self.layers(model, run)
        for name, layer in layers.items():
            model.reparametrise(name, layer)
        budget = self.budget(model, run)
        pressure = Pressure(layers, budget, self.gamma)
        run.train("scores", model, self.settings.prune, parameters=self.searched(model, layers), dynamics=pressure)
        kept = self.kept(layers, budget)
        masks = {}
        for name, layer in layers.items():
            mask = keep_highest(layer.scores.detach().abs(), kept[name])
            masks[name] = mask.expand_as(model.module.get_parameter(name)).contiguous()
        model.drop_reparametrisations()
        return Masks(masks)

    @property
    def gamma(self) -> float:
        """The budget's weight in the first epoch."""
        return self.settings.gamma_channels if self.channels else self.settings.gamma_weights

    def layers(self, model: MaskedModel, run: Run) -> dict[str, RatedScores]:
        """Return weight name -> scores and quota as the search starts."""
        weights = {name: model.fold(name) for name in run.prunable(model)}
        start, floor = self.start_rates(weights, 1 - run.target), self.settings.rate_floor * (1 - run.target)
        leaders = followed(list(weights)) if self.channels else {}
        quotas = {
            name: nn.Parameter(quota_of(start[name], floor).to(weight.device)) for name, weight in weights.items()
        }
        if self.official and self.settings.learn == "scores":
            quotas = {name: nn.Parameter(torch.ones_like(quota)) for name, quota in quotas.items()}
        count = kept_channels if self.channels else kept_weights
        layers = {}
        for name, weight in weights.items():
            quota = quotas[leaders.get(name, name)]
            layers[name] = RatedScores(self.scores_from(weight), quota, floor, count, follows=name in leaders)
        return layers

    def start_rates(self, weights: Mapping[str, Tensor], asked: float) -> dict[str, float]:
        """Return the rates with which the search starts; those of scores alone are the ones it ends with."""
        usual = self.settings.start_channels if self.channels else self.settings.start_weights
        return initial_rates(self.settings.start, weights, asked if self.settings.learn == "scores" else usual)

    def scores_from(self, weight: Tensor) -> Tensor:
        """Return a layer's first scores: scaled weights (HYDRA), or scaled l1 norms of the input channels."""
        if self.channels and self.official:  # the code reshapes [out, in, ...] to [in, -1] where it should transpose
            mixed = weight.reshape(weight.shape[1], weight.shape[0], *weight.shape[2:]).transpose(0, 1)
            return scaled_score_init(mixed, per_channel=True)
        return scaled_score_init(weight, per_channel=self.channels)

    def budget(self, model: MaskedModel, run: Run) -> Budget:
        """Return what all layers may spend together at the run's target."""
        names, rate = run.prunable(model), 1 - run.target
        if not self.channels:
            return Weights([model.module.get_parameter(name).numel() for name in names], rate)
        layers = layers_of(model.module, names, run.example, official=self.official)
        return Flops(layers, rate, uniform_target(layers, rate) if self.official else None)

    def searched(self, model: MaskedModel, layers: Mapping[str, RatedScores]) -> list[dict[str, Any]]:
        """Return what the search trains: scores and the affine parameters of normalisation; quotas as a group."""
        usual = [p for norm in normalisation_layers(model.module) for p in norm.parameters(recurse=False)]
        if self.settings.learn != "rates":
            usual += [layer.scores for layer in layers.values()]
        groups: list[dict[str, Any]] = [{"params": usual}]
        if self.settings.learn != "scores":
            quotas: dict[str, Any] = {"params": [layer.quota for layer in layers.values() if not layer.follows]}
            quotas["lr_scale"] = self.settings.quota_lr
            groups.append(quotas if self.settings.quota_decay else {**quotas, "weight_decay": 0.0})
        return groups

    def kept(self, layers: Mapping[str, RatedScores], budget: Budget) -> dict[str, int]:
        """Return weight name -> number of units kept, so that the budget is met (officially: not exceeded)."""
        if self.official and float(budget.overshoot(rates(layers)).detach()) == 0:
            return {name: layer.kept for name, layer in layers.items()}
        quotas = torch.stack([layer.quota.detach() for layer in layers.values()]).double().cpu()
        floor = next(iter(layers.values())).floor
        shared: dict[int, list[int]] = {}
        for index, layer in enumerate(layers.values()):
            shared.setdefault(id(layer.quota), []).append(index)
        counts = met(budget, lambda shift: rate_of(quotas + shift, floor), list(shared.values()))
        return dict(zip(layers, counts, strict=True))
