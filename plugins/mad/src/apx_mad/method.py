"""MAD (Lee et al., CVPR 2022, arXiv 2204.02738): pruning by the damage that masking does under attack."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from apx import AfterTraining, Batch, MaskedModel, Masks, MethodSettings, Run, TrainSettings
from apx.attacks import frozen, pgd, uniform_start
from apx.datasets import epoch_batches
from apx.masks import prunable_layers
from apx.randomness import derive_seed
from apx.training import quick
from apx.training.settings import scaled

from .kfac import batch_saliency, parameter_names
from .pools import masks_from_saliency, quantiles
from .soft_masks import search_masks

_PASS = "prune/saliency"
_SGD: Mapping[str, Any] = {
    "batch_size": 128,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 2e-4,
    "lr_schedule": "step",
    "milestones": (0.5, 0.75),
}
_ATTACK: Mapping[str, Any] = {"eps": 8 / 255, "alpha": 1.84 / 255, "steps": 10, "attack_bn": "eval"}  # 2.3 eps / steps


class MADSettings(MethodSettings):
    """Defaults: the official code's, the same for every dataset and network, at 8/255 where it has 0.03."""

    natural: TrainSettings = Field(
        TrainSettings(epochs=200, objective="nat", **_SGD),
        description="natural training from which pretrain starts; 0 epochs leave it out",
    )
    pretrain: TrainSettings = Field(
        TrainSettings(epochs=60, objective="pgd", handover="best", **_ATTACK, **_SGD),
        description="adversarial training of the dense network; its attack is that of the saliency pass too",
    )
    search_batch_size: int = Field(128, ge=1, description="images for which one soft mask is searched")
    search_batches: int | None = Field(None, ge=1, description="batches that are scored; one epoch where None")
    search_steps: int = Field(20, ge=1, description="Adam steps of a batch's mask search")
    search_lr: float = Field(0.1, gt=0, description="Adam's rate in the mask search")
    removes: Literal["lowest", "highest", "random"] = Field(
        "lowest", description="which saliencies go; highest and random are the official code's controls"
    )
    finetune: TrainSettings = Field(
        TrainSettings(epochs=60, objective="mart", beta=0.5, **_ATTACK, **_SGD),
        description="adversarial training of what is left",
    )
    normalise: bool = Field(True, description="subtract and divide by the data's statistics inside the network")


class MAD(AfterTraining):
    """Per adversarial batch, mask the weights softly against the loss; rank by the damage that this displacement does.

    All convolutions and linear layers compete in one pool, only the classifier is ranked in each of its rows; a bias
    is one more column of its layer. Both `fidelity` values are the same.
    """

    slug = "mad"
    Settings = MADSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "natural": {"epochs": 0},
            "pretrain": quick.PRETRAIN,
            # long searches over few images fit those: many small batches and few steps rank better
            "search_batch_size": 16,
            "search_batches": 16,
            "search_steps": 5,
            # what is left has to learn anew
            "finetune": {**quick.FINETUNE, "epochs": 12, "lr": 5e-3},
            "normalise": False,
        },
    }
    settings: MADSettings
    _saliency: Mapping[str, Tensor] | None = None
    _classifier: str | None = None

    def execute(self, model: MaskedModel, run: Run) -> None:
        """Train naturally where no dense network is known yet, then pretrain, prune, finetune."""
        natural = self.settings.natural
        if natural.epochs and run.dense is None:
            if run.determines is not None:  # the dense network is another one than without this phase
                settings = scaled(natural, run.epochs_scale).model_dump()
                run.determines = {**run.determines, "natural": settings}
            pretrained = run.directory is not None and run.directory.has_finished("pretrain")
            if not pretrained and run.cached_dense(self.settings.pretrain) is None:
                run.train("natural", model, natural)
        super().execute(model, run)

    def prepare(self, model: MaskedModel, run: Run) -> None:
        """Removed entries are zero where they are stored: weight, gradient and momentum."""
        model.storage = "inplace"

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        """Remove the lowest saliencies, signed: negative entries, then those whose masks all stayed at 1, go first."""
        layers = prunable_layers(model.module)
        names = [full for name, layer in layers.items() for full in parameter_names(name, layer).values()]
        if self.settings.removes == "random":
            shapes = {name: tuple(model.module.get_parameter(name).shape) for name in names}
            self._saliency = {name: run.random(f"scores/{name}", shape) for name, shape in shapes.items()}
        else:
            sign = -1.0 if self.settings.removes == "highest" else 1.0
            self._saliency = {name: sign * mean for name, mean in self.saliency(model.module, names, run).items()}
        linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
        self._classifier = linear[-1] if linear else None
        return masks_from_saliency(self._saliency, run.target, self._classifier)

    def saliency(self, network: nn.Module, names: list[str], run: Run) -> dict[str, Tensor]:
        """Return the mean saliency over the batches of one epoch; weights, statistics and mode stay as they are.

        Always in float32: values are of the order of 1e-9.
        """
        s, layers = self.settings, prunable_layers(network)
        threat = run.environment.threat(s.pretrain)
        in_epoch = -(-len(run.data.train) // s.search_batch_size)
        count = min(in_epoch, s.search_batches or in_epoch)
        run.progress.phase(_PASS, count)
        mean = {name: torch.zeros_like(network.get_parameter(name)) for name in names}
        with frozen(network, "eval"):
            for batch in itertools.islice(self.batches(run), count):
                if run.interrupts.pending():
                    run.interrupts.stop()
                start = uniform_start(batch.x, threat.eps, batch.uniform("start"))
                x_adv = pgd(network, batch.x, batch.y, start=start, mode="eval", **vars(threat))
                masks = search_masks(network, names, x_adv, batch.y, steps=s.search_steps, lr=s.search_lr)
                for name, damage in batch_saliency(network, layers, masks, x_adv, batch.y).items():
                    mean[name] += damage / count
                run.progress.step()
        return mean

    def batches(self, run: Run) -> Iterator[Batch]:
        """Yield an epoch of training batches, shuffled and augmented, keyed by the run's seed."""
        epoch = epoch_batches(
            run.data,
            run.data.train,
            batch_size=self.settings.search_batch_size,
            seed=derive_seed(run.seed, _PASS),
            epoch=0,
            augment=run.environment.augment,
            device=run.device,
        )
        return (Batch(x, y, indices, run.seed, _PASS, 0) for x, y, indices in epoch)

    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        """Return each weight's place in its pool, in (0, 1], by which one threshold explains all masks."""
        return None if self._saliency is None else quantiles(self._saliency, self._classifier)
