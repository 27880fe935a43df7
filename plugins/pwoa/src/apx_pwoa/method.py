"""PwoA (Jian et al., ICDM 2022, arXiv 2210.04311): pruning robust networks without adversarial examples."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from apx import AfterTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings, Variant
from apx.admm import ADMM, energy, project
from apx.specifics import masks_from
from apx.specifics.locality import Local
from apx.specifics.rates import Uniform
from apx.training import quick, recipes

from .percentile import Percentile
from .taps import unknown_taps

_SGD: Mapping[str, Any] = {"batch_size": 128, "momentum": 0.9, "weight_decay": 1e-4}
_DISTIL: Mapping[str, Any] = {"objective": "kd-hsic", "eps": 8 / 255, "alpha": 2 / 255, "steps": 10}


class PwoASettings(MethodSettings):
    """Defaults: the official script for CIFAR-10, at its last revision; the attack serves `mix` alone."""

    pretrain: TrainSettings = Field(
        recipes.PRETRAIN, description="the robust dense network, pupil and teacher; any training will do"
    )
    prune: TrainSettings = Field(
        TrainSettings(
            epochs=50, lr=0.01, lr_schedule="step", lr_period=3, milestones=(1 / 3, 2 / 3), **_DISTIL, **_SGD
        ),
        description="distillation under the ADMM penalty; the learning rate starts again as often as ADMM updates",
    )
    finetune: TrainSettings = Field(
        TrainSettings(epochs=100, lr=0.005, lr_schedule="cosine", **_DISTIL, **_SGD),
        description="distillation with the HSIC bottleneck, of what is left",
    )
    temperature: float = Field(30.0, gt=0, description="of the distillation; at 30 logits are matched")
    lambda_x: float = Field(2e-5, ge=0, description="weight of HSIC(input, features); 0 leaves HSIC out altogether")
    lambda_y: float = Field(1e-4, ge=0, description="weight of HSIC(label, features); 0 leaves HSIC out altogether")
    sigma: float = Field(5.0, gt=0, description="bandwidth of the Gaussian kernels, per root of the dimension")
    hsic_in_prune: bool = Field(False, description="keep the HSIC bottleneck in the pruning phase too, as in the paper")
    taps: tuple[str, ...] | None = Field(
        None, description="layers whose outputs HSIC reads, or NAME:input; the network's own where None"
    )
    mix: float = Field(0.0, ge=0, le=1, description="probability of training a batch on its PGD examples")
    interval: int = Field(3, ge=1, description="epochs between two updates of ADMM's duplicates and duals")
    rho: float = Field(0.01, ge=0, description="weight of ADMM's penalty at first")
    growth: float = Field(1.35, ge=1, description="what rho is multiplied by at each update")
    largest_rho: float = Field(1.0, gt=0, description="where rho stops growing")


class PwoA(AfterTraining):
    """ADMM pruning that distils the dense network's own logits, a hard cut, masked finetuning with HSIC beside it.

    No attack and no cross-entropy: robustness is the teacher's, on clean images (unless `mix` says otherwise).
    With `fidelity="official"` counts are those of a percentile, off by one at times, and batch norm stays under
    removed filters.
    """

    slug = "pwoa"
    Settings = PwoASettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper:cifar100": {"lambda_x": 5e-7, "lambda_y": 2e-6},
        "quick": {
            "pretrain": quick.PRETRAIN,
            "prune": {**quick.FINETUNE, "objective": "kd-hsic", "optimizer": "sgd", "epochs": 5, "lr": 0.02},
            "finetune": {**quick.FINETUNE, "objective": "kd-hsic", "optimizer": "sgd", "epochs": 8, "lr": 0.05},
            "interval": 1,
            "rho": 0.1,
            "mix": 0.3,  # clean images alone are too few to carry the teacher's robustness over to a VGG16
        },
        "quick:S": {"mix": 0.6},  # what is left of whole filters or columns needs more of it
    }
    settings: PwoASettings

    def __init__(self, settings: PwoASettings, variant: Variant) -> None:
        off = {} if settings.hsic_in_prune else {"lambda_x": 0.0, "lambda_y": 0.0}
        phases = {
            "prune": distilling(settings, settings.prune, **off),
            "finetune": distilling(settings, settings.finetune),
        }
        super().__init__(settings.model_copy(update=phases), variant)

    def refuses(self, module: nn.Module) -> str | None:
        """Refuse taps that the network lacks."""
        if unknown := unknown_taps(module, self.settings.taps or ()):
            return f"setting taps names {', '.join(unknown)}, which the network does not have"
        return None

    def teacher(self, model: MaskedModel, run: Run) -> nn.Module:
        """Return the dense network, frozen."""
        dense = copy.deepcopy(model.module)
        dense.load_state_dict(run.dense_state(model, self.settings.pretrain))
        return dense.eval().requires_grad_(False)

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Train under min L_D + sum_l rho/2 ||W_l - Z_l + U_l||^2, Z_l sparse, then cut W_l at its projection."""
        official = self.settings.fidelity == "official"
        rates = Percentile() if official else Uniform()
        names = run.prunable(model)
        shapes = {name: tuple(model.module.get_parameter(name).shape) for name in names}
        kept = rates.kept(shapes, run.target, run.structure)
        admm = ADMM(
            names,
            lambda name, tensor: project(tensor, run.structure, kept[name]),
            interval=run.span(self.settings.interval),
            rho=self.settings.rho,
            growth=self.settings.growth,
            largest_rho=self.settings.largest_rho,
            renew=True,
        )
        run.train("admm", model, self.settings.prune, dynamics=admm, teacher=self.teacher(model, run))
        masks = masks_from({name: energy(model.fold(name)) for name in names}, model, run, Local(rates))
        return Masks({name: masks[name] for name in names}) if official else masks


def distilling(settings: PwoASettings, phase: TrainSettings, **changed: float) -> TrainSettings:
    """Return a phase with the options of its objective; labels are not used by the distillation."""
    names = ("temperature", "lambda_x", "lambda_y", "sigma", "taps", "mix")
    options = {name: getattr(settings, name) for name in names} | {"weight": 1} | changed
    return phase.model_copy(update={"options": {**options, **phase.options}})
