"""Li20 (Li et al., 2020, arXiv 2003.05733): boosting tickets for adversarial training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from apx import BeforeTraining, Dynamics, MaskedModel, Masks, MethodSettings, Position, Run, TrainSettings
from apx.coupling import couple_filters
from apx.masks import prunable_layers
from apx.rewinding import rewind, snapshot
from apx.selection import above_percentile
from apx.specifics import Global, Schedule, masks_from
from apx.specifics.structure import Structure
from apx.training import quick

from .initialisation import initialise

_SGD: Mapping[str, Any] = {
    "epochs": 100,
    "batch_size": 64,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "lr_schedule": "step",
    "milestones": (0.5, 0.75),
}
_ATTACK: Mapping[str, Any] = {"eps": 8 / 255, "attack_bn": "eval", "options": {"start": "none"}}
_TRAIN = TrainSettings(
    objective="pgd", alpha=2 / 255, steps=10, lr=0.1, warmup_epochs=9, warmup_lr=0.01, **_SGD, **_ATTACK
)
_WARMED: Mapping[str, Any] = {"batch_size": 128, "warmup_epochs": 10, "warmup_lr": 0.05}
_RESNET: Mapping[str, Any] = {  # between the repository's natural ResNet script and its adversarial WideResNet one
    "search": {"batch_size": 128, "lr": 0.05},
    "train": _WARMED,
    "pretrain": _WARMED,
}


class Li20Settings(MethodSettings):
    """Defaults: the official script for VGG16 on CIFAR-10, in which sparsity is 0.8."""

    search: TrainSettings = Field(
        TrainSettings(objective="fgsm-rs", lr=0.01, **_SGD, **_ATTACK),
        description="the dense training whose weights give the mask: FGSM from the clean image, a small rate",
    )
    train: TrainSettings = Field(
        _TRAIN, description="training of the rewound ticket: PGD, a large rate that is warmed up"
    )
    pretrain: TrainSettings = Field(_TRAIN, description="the dense network beside which the ticket is shown")
    restart: Literal["rewind", "reinit"] = Field(
        "rewind", description="where the ticket starts from: the initial weights, or new ones (the paper's control)"
    )
    init: Literal["official", "network"] = Field(
        "official", description="initial weights: drawn as in the official code, or the network's own"
    )
    bn_weight: float = Field(0.5, gt=0, description="batch norm's initial gamma")
    linear_std: float | None = Field(
        0.01, gt=0, description="standard deviation of initial linear weights; PyTorch's own distribution where None"
    )


class Li20(BeforeTraining):
    """Train densely for a while, keep the globally largest |w| / mean_layer |w|, rewind everything, train the ticket.

    Rewound are weights, biases and batch norm, running statistics included; the optimiser starts afresh. Batch norm
    behind a filter that lost all its weights is masked with it. The iterative variant repeats search, cut and rewind.
    With `fidelity="official"` the threshold is numpy's percentile, and biases are multiplied after every step by their
    row's share of surviving weights, which drives them to 0.
    """

    slug = "li20"
    Settings = Li20Settings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            # the official initial weights are large, so that Adam needs higher rates than from PyTorch's
            "search": {**quick.FINETUNE, "objective": "fgsm-rs", "epochs": 1, "lr": 3e-3},
            # one step from the image itself overfits
            "train": {**quick.PRETRAIN, "epochs": 12, "lr": 1e-2, "options": {"start": "uniform"}},
            "pretrain": {**quick.PRETRAIN, "options": {"start": "uniform"}},
            "rounds": 2,
            "bn_weight": 1.0,
            # uniform weights lose to the convolutions' normal ones in one ranking: classes would keep no weight
            "linear_std": 0.025,
        },
        "paper:cifar10:resnet18": {**_RESNET, "bn_weight": 1.0, "linear_std": None},
        # no official setting for SVHN: the search keeps VGG16's smaller rate
        "paper:svhn:resnet18": {
            **_RESNET,
            "search": {"batch_size": 128, "lr": 0.01},
            "bn_weight": 1.0,
            "linear_std": None,
        },
    }
    settings: Li20Settings
    _scores: Mapping[str, Tensor] | None = None

    def prepare(self, model: MaskedModel, run: Run) -> None:
        """Draw the initial weights as the official code does, unless the network's own are to be kept."""
        if self.settings.init == "official":
            self._initialise(model.module, run, "init")

    def targets(self, run: Run) -> list[float]:
        """Return the sparsity targets; the iterative ones are the code's, which slow down."""
        return [self.settings.sparsity] if self.variant.schedule == "1S" else Slowing(run.rounds).targets(run.sparsity)

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Search, mask, rewind: the masks of this round, on a network that is as untrained as before."""
        initial = snapshot(model.module)
        run.train("search", model, self.settings.search)
        self._scores = normalised_magnitudes(model, run)
        locality = Percentile() if self.settings.fidelity == "official" else None
        masks = masks_from(self._scores, model, run, locality)
        rewind(model.module, initial)
        if self.settings.restart == "reinit":
            self._initialise(model.module, run, "reinit")
        return with_dead_batch_norms(masks, model, run)

    def dynamics(self, model: MaskedModel, run: Run) -> Dynamics | None:
        """Return the official code's decay of biases where fidelity asks for it."""
        return BiasDecay() if self.settings.fidelity == "official" else None

    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        """Return the normalised magnitudes behind the last masks."""
        return self._scores

    def _initialise(self, module: nn.Module, run: Run, purpose: str) -> None:
        s = self.settings
        initialise(module, run.generator(purpose), bn_weight=s.bn_weight, linear_std=s.linear_std)


def normalised_magnitudes(model: MaskedModel, run: Run) -> dict[str, Tensor]:
    """Return |w| / mean |w| of each layer's effective weights, so that no layer's scale decides about another's."""
    magnitudes = {name: model.fold(name).abs() for name in run.prunable(model)}
    return {name: magnitude / magnitude.mean() for name, magnitude in magnitudes.items()}


def with_dead_batch_norms(masks: Masks, model: MaskedModel, run: Run) -> Masks:
    """Add masks of the batch norms behind filters that have no weight left; linear layers keep their biases."""
    coupled = couple_filters(model.module, masks, run.example)
    linear = {f"{n}.bias" for n, layer in prunable_layers(model.module).items() if isinstance(layer, nn.Linear)}
    return Masks({name: mask for name, mask in coupled.items() if name not in linear})


@dataclass(frozen=True)
class Slowing(Schedule):
    """Step i of n reaches s (i / (i + 10)) / (n / (n + 10)): large cuts first (official code)."""

    rounds: int
    label = "IT"

    def targets(self, sparsity: float) -> list[float]:
        """Return one target per round; the last is `sparsity`."""
        n = self.rounds
        return [sparsity * (i / (i + 10)) / (n / (n + 10)) for i in range(1, n)] + [sparsity]


@dataclass(frozen=True)
class Percentile(Global):
    """The official code's global threshold: strictly above numpy's percentile of all scores."""

    def select(
        self,
        scores: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        sparsity: float,
        structure: Structure,
    ) -> dict[str, Tensor]:
        """Keep what lies above the percentile; ties at it all go."""
        kept = above_percentile(torch.cat([score.reshape(-1) for score in scores.values()]), sparsity)
        parts = kept.split([score.numel() for score in scores.values()])
        return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


class BiasDecay(Dynamics):
    """Multiply each bias by its row's share of surviving weights, at the start and after every step (official code)."""

    def phase_start(self, model: MaskedModel, optimizer: torch.optim.Optimizer) -> None:
        """Decay once before the first step of a training that is not resumed."""
        if not any(optimizer.state.values()):
            self._decay(model)

    def after_step(self, model: MaskedModel, optimizer: torch.optim.Optimizer, at: Position) -> None:
        """Decay once more."""
        self._decay(model)

    @torch.no_grad()
    def _decay(self, model: MaskedModel) -> None:
        for name, layer in prunable_layers(model.module).items():
            mask = model.masks.get(f"{name}.weight")
            if mask is not None and isinstance(layer.bias, Tensor):
                layer.bias.mul_(mask.flatten(1).float().mean(dim=1))
