"""TwinRep (Li et al., AAAI 2023, DOI 10.1609/aaai.v37i7.26027): sparse training by weight reparameterisation."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from apx import DuringTraining, Dynamics, MaskedModel, Masks, MethodSettings, Run, TrainSettings, UserError, Variant
from apx.masks import weight_names
from apx.selection import keep_highest, order_statistic
from apx.specifics import masks_from_units
from apx.training import quick
from apx.training.settings import with_options

from .factors import Channel, Twin, balanced_factors, equalise_filters, uniform_factor

_PAPER = TrainSettings(
    epochs=100,
    objective="trades",
    eps=0.031,
    alpha=0.0078,
    steps=10,
    beta=6.0,
    lr=0.1,
    momentum=0.9,
    weight_decay=2e-4,
    lr_schedule="step",
    milestones=(0.7, 0.85),
    first_epoch=1,
    attack_bn="eval",
)


class TwinRepSettings(MethodSettings):
    """Defaults: the official code's, the same for every dataset and network; TRADES as in the paper."""

    train: TrainSettings = Field(
        _PAPER, description="the one training run, dense until the pruning epoch; objective trades, pgd or nat"
    )
    pruning_epoch: int = Field(10, ge=1, description="1-based epoch before which the masks are computed, once")
    init: Literal["official", "balanced", "from-dense"] = Field(
        "official",
        description="official: both factors U(-1/sqrt(fan_in), 1/sqrt(fan_in)), near-zero logits at first; balanced: "
        "|W| = |A| = sqrt|w| of the network's own init w (filters: W = w, A = 1); from-dense: the same for the "
        "weights of a dense network, filters brought to one scale in all layers",
    )
    pretrain: TrainSettings = Field(_PAPER, description="the dense network of init=from-dense and of the baseline")

    @field_validator("pruning_epoch")
    @classmethod
    def _prunes_in_time(cls, epoch: int, info: ValidationInfo) -> int:
        # the official code would silently train densely
        if "train" in info.data and epoch > info.data["train"].epochs:
            raise ValueError(f"it lies behind the {info.data['train'].epochs} epochs of train; choose an earlier one")
        return epoch


class TwinRep(DuringTraining):
    """Train V = W * A under plain weight decay on both factors, prune the smallest |V| once, train on.

    Weights: Twin-Rep and a global ranking of |W * A| over every convolution and linear layer. Filters: Channel-Rep
    and a global ranking of the l2 norms of V's filters; linear layers are factorised but not pruned. Counts are exact
    (ties fall by index, and a layer's last filter is spared at another layer's expense), and a removed filter's batch
    norm goes with it. With `fidelity="official"` ties stay, a spared filter is not made up for, batch norm stays, and
    the PGD objective starts from x + 0.001 N(0, 1) as TRADES does.
    """

    slug = "twinrep"
    Settings = TwinRepSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "pretrain": quick.PRETRAIN,
            "train": {**quick.FINETUNE, "epochs": 3, "weight_decay": 2e-4},  # this decay is the method's pressure
            "pruning_epoch": 2,
            "init": "from-dense",
        },
        # each step of Adam would move all entries of A alike, and filters grow with their layer's width
        "quick:S": {
            "train": {**quick.FINETUNE, "epochs": 6, "optimizer": "sgd", "lr": 5e-3, "weight_decay": 2e-4},
        },
    }
    settings: TwinRepSettings

    def __init__(self, settings: TwinRepSettings, variant: Variant) -> None:
        official = settings.fidelity == "official"
        super().__init__(with_options(settings, start="normal") if official else settings, variant)

    @property
    def needs_dense(self) -> bool:
        """Whether `init` starts from the dense network."""
        return self.settings.init == "from-dense"

    def prepare(self, model: MaskedModel, run: Run) -> None:
        """Factorise every convolution and linear weight."""
        channel = self.variant.structure == "S"
        if self.settings.init == "from-dense":
            model.module.load_state_dict(run.dense_state(model, self.settings.pretrain))
            if channel:
                equalise_filters(model.module, run.example)
        for name in weight_names(model.module):
            weight = model.module.get_parameter(name)
            hidden, factor = self._factors(name, weight.detach(), run, channel=channel)
            with torch.no_grad():
                weight.copy_(hidden)
            model.reparametrise(name, Channel(factor) if channel else Twin(factor))

    def dynamics(self, model: MaskedModel, run: Run) -> Dynamics:
        """Prune once, at the start of the pruning epoch."""
        epoch = max(1, round(self.settings.pruning_epoch * run.epochs_scale))
        return PruneOnce(lambda: self.masks(model, run), epoch - 1)

    def masks(self, model: MaskedModel, run: Run) -> Masks:
        """Return the masks of `run.target`: a global ranking of |V| or of the filters' l2 norms."""
        scores = self.scores(model)
        if self.settings.fidelity == "paper":
            return masks_from_units(scores, model, run)
        units = official_units(scores, run.target, keep_one=self.variant.structure == "S")
        shapes = {name: model.module.get_parameter(name).shape for name in scores}
        return Masks({name: run.structure.expand(unit, shapes[name]) for name, unit in units.items()})

    def scores(self, model: MaskedModel) -> Mapping[str, Tensor]:
        """Return |V|, or the l2 norms of V's filters, masks left out of V."""
        products = {
            name: model.fold(name, masked=False) for name in weight_names(model.module, self.variant.excluded_layers)
        }
        if self.variant.structure == "US":
            return {name: product.abs() for name, product in products.items()}
        return {name: product.flatten(1).norm(dim=1) for name, product in products.items()}

    def _factors(self, name: str, weight: Tensor, run: Run, *, channel: bool) -> tuple[Tensor, Tensor]:
        if self.settings.init == "official":
            shape = (len(weight), len(weight)) if channel else tuple(weight.shape)
            return weight, uniform_factor(weight, run.random(f"factor/{name}", shape), channel=channel)
        if channel:  # A = 1 leaves the network's own weights in W
            return weight, torch.eye(len(weight), device=weight.device)
        return balanced_factors(weight)


class PruneOnce(Dynamics):
    """Put masks into force before the first step of one epoch (0-based); they stay."""

    def __init__(self, masks: Callable[[], Masks], epoch: int) -> None:
        self._masks = masks
        self._epoch = epoch

    def epoch_start(self, model: MaskedModel, epoch: int) -> None:
        """Compute the masks at the start of the pruning epoch."""
        if epoch == self._epoch:
            model.set_masks(self._masks())


def official_units(scores: Mapping[str, Tensor], ratio: float, *, keep_one: bool) -> dict[str, Tensor]:
    """Return the official unit masks: 1 where a score reaches the (round(ratio N) + 1)-th smallest of all.

    Tied scores stay, so that fewer units may go than asked; with `keep_one` a layer keeps its largest score
    (the last of tied ones).

    Raises:
        UserError: the ratio rounds to all units, for which the official threshold does not exist.
    """
    flat = torch.cat([score.reshape(-1) for score in scores.values()])
    removed = round(ratio * flat.numel())
    if removed == flat.numel():
        raise UserError(f"sparsity {ratio} would remove all {removed} units of this network; choose a smaller one")
    threshold = order_statistic(flat, removed + 1)
    units = {}
    for name, score in scores.items():
        kept = score >= threshold
        if keep_one and not kept.any():
            kept = keep_highest(score, 1)
        units[name] = kept
    return units
