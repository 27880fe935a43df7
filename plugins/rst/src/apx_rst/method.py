"""RST (Fu et al., NeurIPS 2021, arXiv 2110.14068): robust scratch tickets, found in a network that is never trained."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from apx import BeforeTraining, MaskedModel, Masks, MethodSettings, Run, TrainSettings
from apx.reparametrisation import LearnedScores
from apx.training import quick

from .scores import initial_scores, trailing
from .weights import Initialisation, draw_weights, make_scratch

_RECIPE: Mapping[str, Any] = {
    "batch_size": 256,
    "objective": "pgd",
    "eps": 8 / 255,
    "alpha": 2 / 255,
    "steps": 7,
    "attack_bn": "train",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "lr_schedule": "step",
    "milestones": (0.5, 0.75),
    "handover": "best",
    "val_steps": 20,
}
_QUICK_SEARCH: Mapping[str, Any] = {**quick.SEARCH, "epochs": 18, "batch_size": 64, "lr": 0.1, "attack_bn": "train"}


class RSTSettings(MethodSettings):
    """Defaults: the official configuration for CIFAR-10, ResNet18 and VGG16 alike; SVHN has a loader and no other."""

    search: TrainSettings = Field(
        TrainSettings(epochs=160, **_RECIPE), description="the search for scores, weights frozen; pgd, fgsm-rs or nat"
    )
    finetune: TrainSettings = Field(
        TrainSettings(epochs=0, **_RECIPE), description="training of the ticket's weights; the paper's takes 160 epochs"
    )
    pretrain: TrainSettings = Field(
        TrainSettings(epochs=160, **_RECIPE), description="the dense network beside which the ticket is shown"
    )
    init: Initialisation = Field("signed-constant", description="how the weights that are searched are drawn")
    score_bound: Literal["fan-in", "one"] = Field(
        "fan-in",
        description="initial scores are uniform up to 1 / sqrt(fan-in), or up to 1 in every layer, which suits Adam: "
        "its steps do not know a layer's scale",
    )
    rescale: bool = Field(False, description="divide fan-ins by 1 - sparsity, so that thinned layers keep their scale")
    finetune_from: Literal["inherit", "reinit"] = Field(
        "inherit", description="finetuning starts from the ticket's weights, or from fresh kaiming-normal ones"
    )
    normalise: bool = Field(True, description="subtract and divide by the data's statistics inside the network")


class RST(BeforeTraining):
    """Learn one score per unit of a random network by adversarial edge-popup; keep each layer's highest |scores|.

    Weights, and with them the whole network but its masks and batch-norm statistics, are what they were drawn as. No
    module is replaced: biases of zero and batch norms with gamma 1 and beta 0 that nothing trains are the published
    networks, which have neither, so that the ticket is exported in the canonical architecture.
    """

    slug = "rst"
    Settings = RSTSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "search": _QUICK_SEARCH,
            "finetune": {**quick.FINETUNE, "epochs": 0},
            "pretrain": quick.PRETRAIN,
            "score_bound": "one",
        },
        "quick:S:vgg16": {"search": {"steps": 2, "epochs": 36}},  # whole kernels leave less to choose
        # no official setting; at 0.1 adversarial training on SVHN is prone to stay at chance
        "paper:svhn": {"pretrain": {"lr": 0.01}},
    }
    settings: RSTSettings

    def prepare(self, model: MaskedModel, run: Run) -> None:
        """Draw the weights that are searched."""
        rescaled = dict.fromkeys(run.prunable(model), 1 - self.settings.sparsity) if self.settings.rescale else {}
        make_scratch(model.module, self.settings.init, run.generator("weights"), densities=rescaled)

    def execute(self, model: MaskedModel, run: Run) -> None:
        """Search; nothing else, unless finetuning is asked for."""
        self.prepare(model, run)
        run.prune("prune", model, self.prune, self.targets(run)[-1])
        if run.epochs(self.settings.finetune) == 0:
            return
        names = run.prunable(model)
        weights = [model.module.get_parameter(name) for name in names]
        if self.settings.finetune_from == "reinit":
            generator = run.generator("finetune")
            with torch.no_grad():
                for weight in weights:
                    weight.copy_(draw_weights(weight.shape, "kaiming-normal", generator))
        run.train("finetune", model, self.settings.finetune, parameters=weights)

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Train the scores alone, everything else frozen, then fix the masks."""
        self.attach_scores(model, run)
        run.train("search", model, self.settings.search, parameters=model.reparametrisations.parameters())
        found = model.current_masks()
        model.drop_reparametrisations()
        return found

    def attach_scores(self, model: MaskedModel, run: Run) -> None:
        """Give every unit a random score; the highest |scores| of each layer are in force from now on."""
        generator = run.generator("scores")
        for name, count in run.kept(model).items():
            weight = model.module.get_parameter(name)
            scores = initial_scores(run.structure.unit_shape(weight.shape), generator, self.settings.score_bound)
            model.reparametrise(name, LearnedScores(trailing(scores, weight.dim()), count))
