"""RADMM (Ye et al., ICCV 2019, arXiv 1903.12561): adversarial training under a sparsity constraint, by ADMM."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from apx import AfterTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings, Variant
from apx.admm import ADMM, Projection, cut, sparse_projection
from apx.masks import weight_names
from apx.training import quick
from apx.training.settings import with_options

from .percentile import Percentile, project_at_percentile

_PGD: Mapping[str, Any] = {"objective": "pgd", "eps": 8 / 255, "alpha": 2 / 255, "steps": 10}
_SGD: Mapping[str, Any] = {"batch_size": 128, "momentum": 0.9, "weight_decay": 1e-4}


class RadmmSettings(MethodSettings):
    """Defaults: the later fork of the official code, which has recipes for both networks, on CIFAR-10."""

    pretrain: TrainSettings = Field(
        TrainSettings(epochs=100, lr=0.1, lr_schedule="shifted-cosine", **_PGD, **_SGD),
        description="the dense network; its last epoch is pruned",
    )
    prune: TrainSettings = Field(
        TrainSettings(epochs=100, lr=0.01, lr_schedule="step", lr_period=30, milestones=(1 / 3, 2 / 3), **_PGD, **_SGD),
        description="dense training under ADMM's penalty; the learning rate starts again as often as ADMM updates",
    )
    finetune: TrainSettings = Field(
        TrainSettings(
            epochs=100,
            lr=0.01,
            lr_schedule="step",
            milestones=(0.95,),  # epoch 80 after a warm-up of 15
            warmup_epochs=15,
            warmup_lr=1e-4,
            handover="best",
            **_PGD,
            **_SGD,
        ),
        description="training of what is left, masks fixed",
    )
    interval: int = Field(30, ge=1, description="epochs between two updates of ADMM's duplicates and duals")
    rho: float = Field(1e-3, ge=0, description="weight of ADMM's penalty at first")
    growth: float = Field(1.3, ge=1, description="what rho is multiplied by at each update")
    leave_dense: tuple[str, ...] = Field(
        (), description="further layers left dense: stem, classifier, linear, ... or a layer's own name"
    )


class Radmm(AfterTraining):
    """Train adversarially while ADMM pulls each layer towards its nearest sparse weights; cut once; finetune.

    The sparse set and its projection follow the variant: largest weights, or filters, columns or input channels of
    largest l2 norm, a share of each layer. With `fidelity="official"` the duals' gradient is not cut off, so that the
    penalty's counts once more after each update; cuts are made at percentiles; batch norm and biases stay under
    removed filters; and each step makes one more clean forward pass in train mode.
    """

    slug = "radmm"
    Settings = RadmmSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper:svhn": {
            "prune": {"objective": "fgsm-pgd", "options": {"warmup": 0.2}},
            "finetune": {"milestones": (0.8,), "warmup_epochs": 0, "warmup_lr": 0.0},
        },
        "quick": {
            "pretrain": quick.PRETRAIN,
            "prune": {**quick.FINETUNE, "epochs": 5},
            "finetune": quick.FINETUNE,
            "interval": 1,
            "rho": 0.1,
        },
    }
    settings: RadmmSettings

    def __init__(self, settings: RadmmSettings, variant: Variant) -> None:
        self.official = settings.fidelity == "official"
        super().__init__(with_options(settings, logging_pass=True) if self.official else settings, variant)

    def refuses(self, module: nn.Module) -> str | None:
        """Refuse to leave every layer dense; a name that is no layer raises a UserError."""
        if not weight_names(module, (*self.variant.excluded_layers, *self.settings.leave_dense)):
            return f"leave_dense={list(self.settings.leave_dense)} leaves no layer to prune"
        return None

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Minimise E[CE(f_W(x + d), y)] + sum_l rho/2 ||W_l - Z_l + U_l||^2, Z_l sparse; then cut each W_l."""
        names = self.constrained(model, run)
        admm = ADMM(
            names,
            self.projection(model, run),
            interval=run.span(self.settings.interval),
            rho=self.settings.rho,
            growth=self.settings.growth,
            attached_duals=self.official,
        )
        run.train("admm", model, self.settings.prune, dynamics=admm)
        if not self.official:
            return cut(model, run, names)
        masks = cut(model, run, names, Percentile())
        return Masks({name: masks[name] for name in names})

    def constrained(self, model: MaskedModel, run: Run) -> list[str]:
        """Return the weights that ADMM makes sparse: the variant's, less those of layers to be left dense."""
        allowed = weight_names(model.module, self.settings.leave_dense)
        return [name for name in run.prunable(model) if name in allowed]

    def projection(self, model: MaskedModel, run: Run) -> Projection:
        """Return the projection (weight name, tensor) -> tensor on the variant's sparse set at `run.target`."""
        if not self.official:
            return sparse_projection(model, run)
        structure, sparsity = run.structure, run.target
        return lambda name, tensor: project_at_percentile(tensor, structure, sparsity)
