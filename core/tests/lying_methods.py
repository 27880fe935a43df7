"""Methods that are honest but for one lie each, for the conformance check to find."""

import contextlib
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from apx import (
    AfterTraining,
    Batch,
    BeforeTraining,
    DuringTraining,
    Dynamics,
    MaskedModel,
    Masks,
    MethodSettings,
    Position,
    Run,
)
from apx import TrainSettings as Phase
from apx.masks import weight_names
from apx.specifics import Filters, Global, Local, Magnitude, Weights, masks_by, masks_from
from apx.training.settings import scaled


class TwoPhases(MethodSettings):
    pretrain: Phase = Phase(objective="nat", lr=0.01)
    finetune: Phase = Phase(objective="nat", lr=0.01)


class OnePhase(MethodSettings):
    train: Phase = Phase(objective="nat", lr=0.01)


class Honest(AfterTraining):
    slug = "honest"
    Settings = TwoPhases
    settings: TwoPhases

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        learned = Global() if run.variant.budget == "learned" else None  # rates that a method found by itself
        return masks_by(Magnitude(), model, run, learned)


class HonestDuring(DuringTraining):
    slug = "honest-during"
    Settings = OnePhase
    settings: OnePhase

    def dynamics(self, model: MaskedModel, run: Run) -> Dynamics:
        masks_of = masks_by

        class PruneInTheMiddle(Dynamics):
            def epoch_start(self, model: MaskedModel, epoch: int) -> None:
                if epoch == 1:
                    model.set_masks(masks_of(Magnitude(), model, run))

        return PruneInTheMiddle()


class HonestAboutItsStart(DuringTraining):
    """Cuts to the asked sparsity at first and goes on from there, as its variant says (`sparsity_at`)."""

    slug = "honest-start"
    Settings = OnePhase
    settings: OnePhase
    first: ClassVar[float] = 1.0  # of the asked sparsity

    def dynamics(self, model: MaskedModel, run: Run) -> Dynamics:
        masks_of, asked, first = masks_by, run.target, self.first

        class PruneOn(Dynamics):
            def epoch_start(self, model: MaskedModel, epoch: int) -> None:
                with run.targeting(asked * first if epoch == 0 else (1 + asked) / 2):
                    model.set_masks(masks_of(Magnitude(), model, run, Local()))

        return PruneOn()


class StartsTooDense(HonestAboutItsStart):
    first = 0.5


class HonestAboutChannels(Honest):
    """Keeps the asked share of channels everywhere, whatever a learned rate might be."""

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        return masks_by(Magnitude(), model, run, Local())


class PrunesTooManyChannels(HonestAboutChannels):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        with run.targeting((1 + run.target) / 2):
            return super().prune(model, run)


class HonestBefore(BeforeTraining):
    slug = "honest-before"
    Settings = OnePhase
    settings: OnePhase

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        return masks_by(Magnitude(), model, run)


class HonestInOnePhase(HonestBefore):
    """All rounds in one pruning phase, since nothing is trained between them."""

    def targets(self, run: Run) -> list[float]:
        return [run.sparsity]

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        for target in run.targets():
            with run.targeting(target):
                model.set_masks(masks_by(Magnitude(), model, run))
        return model.masks


def _magnitudes(model: MaskedModel, run: Run) -> dict[str, Tensor]:
    return {name: model.fold(name).abs() for name in run.prunable(model)}


class RanksGlobally(Honest):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        shapes = {name: tuple(score.shape) for name, score in _magnitudes(model, run).items()}
        return Masks(Global().select(_magnitudes(model, run), shapes, run.target, Weights()))


class RanksLocally(Honest):
    """Where a global ranking is claimed; it hands over its true scores, which give it away."""

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        self._scores = _magnitudes(model, run)
        shapes = {name: tuple(score.shape) for name, score in self._scores.items()}
        return Masks(Local().select(self._scores, shapes, run.target, Weights()))

    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        return self._scores


class RanksLocallyInSilence(RanksLocally):
    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        return None


class HandsOverMaskedScores(RanksLocally):
    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        return {name: score * model.masks[name] for name, score in self._scores.items()}


class HandsOverConstantScores(RanksLocally):
    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        return {name: torch.zeros_like(score) for name, score in self._scores.items()}


class HonestWithManyTies(Honest):
    """Ranks globally by scores of which most are 0, as those of units that do nothing: the tie crosses the cut."""

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        self._scores = {name: score * (score > 0.9 * score.max()) for name, score in _magnitudes(model, run).items()}
        return masks_from(self._scores, model, run)

    def scores(self, model: MaskedModel) -> Mapping[str, Tensor] | None:
        return self._scores


class ThinsFilters(Honest):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        scores = _magnitudes(model, run)
        shapes = {name: tuple(score.shape) for name, score in scores.items()}
        return Masks(Local().select(scores, shapes, run.target, Weights()))


class ZeroesBesideTheMasks(Honest):
    """Whole filters by its masks; single weights of living filters by hand, at the very end."""

    def export(self, model: MaskedModel, run: Run) -> nn.Module:
        plain = super().export(model, run)
        weight = plain.get_parameter(run.prunable(model)[0])
        with torch.no_grad():
            weight[:, 0] = 0.0
        return plain


class LeavesBatchNormAlive(Honest):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        return Masks({name: mask for name, mask in super().prune(model, run).items() if mask.dim() > 1})


class PrunesTwice(Honest):
    def execute(self, model: MaskedModel, run: Run) -> None:
        run.pretrain(model, self.settings.pretrain)
        run.prune("round-1/prune", model, self.prune, run.sparsity / 2)
        run.train("round-1/retrain", model, scaled(self.settings.finetune, 0.5))
        run.prune("round-2/prune", model, self.prune, run.sparsity)
        run.train("finetune", model, self.settings.finetune)


class PrunesOnce(Honest):
    def execute(self, model: MaskedModel, run: Run) -> None:
        run.pretrain(model, self.settings.pretrain)
        for number in (1, 2):
            run.prune(f"round-{number}/prune", model, self.prune, run.sparsity)
            run.train(f"round-{number}/retrain", model, scaled(self.settings.finetune, 0.5))
        run.train("finetune", model, self.settings.finetune)


class PrunesTooLittle(Honest):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        with run.targeting(run.target / 2):
            return super().prune(model, run)


class Shift(Dynamics):
    def epoch_start(self, model: MaskedModel, epoch: int) -> None:
        model.set_masks(Masks({name: mask.roll(1, dims=0) for name, mask in model.masks.items()}))


class MovesMasksWhileTraining(HonestBefore):
    def execute(self, model: MaskedModel, run: Run) -> None:
        run.prune("prune", model, self.prune, run.sparsity)
        run.train("train", model, self.settings.train, dynamics=Shift())


class PrunesBeforePretraining(Honest):
    def execute(self, model: MaskedModel, run: Run) -> None:
        run.prune("prune", model, self.prune, run.sparsity)
        run.pretrain(model, self.settings.pretrain)
        run.train("finetune", model, self.settings.finetune)


class MovesMasksWhileFinetuning(Honest):
    def execute(self, model: MaskedModel, run: Run) -> None:
        run.pretrain(model, self.settings.pretrain)
        run.prune("prune", model, self.prune, run.sparsity)
        run.train("finetune", model, self.settings.finetune, dynamics=Shift())


class PrunesBeforeTheFirstStep(HonestDuring):
    def dynamics(self, model: MaskedModel, run: Run) -> Dynamics:
        model.set_masks(masks_by(Magnitude(), model, run))
        return Dynamics()


class AlwaysTheSameRandomMasks(Honest):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        generator = torch.Generator().manual_seed(0)
        shapes = {name: model.module.get_parameter(name).shape for name in run.prunable(model)}
        return masks_from({name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}, model, run)


class DrawsFromTheGlobalGenerator(Honest):
    def execute(self, model: MaskedModel, run: Run) -> None:
        self._noise = {name: torch.rand_like(weight) for name, weight in model.prunable().items()}
        super().execute(model, run)

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        return masks_from({name: self._noise[name] for name in run.prunable(model)}, model, run)


class ForgetsItsState(Honest):
    """Its penalty grows with a counter that no checkpoint holds."""

    def execute(self, model: MaskedModel, run: Run) -> None:
        class Growing(Dynamics):
            steps = 0

            def loss_terms(self, model: MaskedModel, batch: Batch, at: Position) -> Tensor:
                self.steps += 1
                weights = [model.module.get_parameter(name) for name in weight_names(model.module)]
                return 1e-3 * self.steps * sum((weight.square().sum() for weight in weights), torch.zeros(()))

        run.pretrain(model, self.settings.pretrain)
        run.prune("prune", model, self.prune, run.sparsity)
        run.train("finetune", model, self.settings.finetune, dynamics=Growing())


class KeepsItsScoresInMemory(Honest):
    """Its export needs what only `prune` made: after a kill behind the pruning it is gone."""

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        self._pruned = True
        return super().prune(model, run)

    def export(self, model: MaskedModel, run: Run) -> nn.Module:
        if not self._pruned:
            raise ValueError("nothing was pruned")
        return super().export(model, run)


class RevivesAtTheEnd(Honest):
    def export(self, model: MaskedModel, run: Run) -> nn.Module:
        plain = super().export(model, run)
        plain.load_state_dict(model.module.state_dict())  # the hidden weights
        return plain


class ReadsTheTestSet(Honest):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        run.data.test.images.float().mean()
        return super().prune(model, run)


class ReadsTheTestSetOnTheQuiet(Honest):
    def prune(self, model: MaskedModel, run: Run) -> Masks:
        with contextlib.suppress(Exception):
            run.data.test.images.float().mean()
        return super().prune(model, run)


class Boasts(Honest):
    def execute(self, model: MaskedModel, run: Run) -> None:
        super().execute(model, run)
        if run.directory is not None:
            run.directory.log({"phase": "finetune", "epoch": 99, "sparsity": 0.99})


class TellsTheTruth(Honest):
    def execute(self, model: MaskedModel, run: Run) -> None:
        super().execute(model, run)
        if run.directory is not None:
            run.directory.log({"phase": "finetune", "epoch": 99, "density": 1.0 - run.sparsity})


class PrunesTheClassifier(Honest):
    """Its variant excludes the classifier."""

    def prune(self, model: MaskedModel, run: Run) -> Masks:
        masks = super().prune(model, run)
        name = weight_names(model.module)[-1]
        return masks.merged({name: Filters().expand(torch.arange(4) > 0, model.module.get_parameter(name).shape)})
