"""A working start for each criterion of the taxonomy: a score, and a pull towards sparsity where the criterion has one.

The strings are Python code of the method to be, as they stand in its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """How one criterion begins.

    `score` computes `{name: saliency}` from `model`, `names` and `run`; `pull`, where there is one, is an expression
    that makes the `Dynamics` under which weights are trained before they are ranked, `defined` the code it needs.
    """

    words: str
    formula: str
    score: str
    pull: str = ""
    defined: str = ""
    imports: tuple[str, ...] = ()
    setting: str = ""


_MAGNITUDE = "return {name: model.fold(name).abs() for name in names}"
_GROUP_LASSO = '''
class Shrinkage(Dynamics):
    """Adds strength * sum over units of their l2 norm to the loss, so that whole units shrink (group lasso)."""

    def __init__(self, names: list[str], structure: Structure, strength: float) -> None:
        self._names = names
        self._structure = structure
        self._strength = strength

    def loss_terms(self, model: MaskedModel, batch: Batch, at: Position) -> Tensor:
        """Return the penalty at the current weights, a scalar."""
        energies = [self._structure.reduce(model.module.get_parameter(name).square()) for name in self._names]
        return self._strength * torch.stack([(energy + 1e-12).sqrt().sum() for energy in energies]).sum()

'''
_PROJECTION = '''
def projection(model: MaskedModel, run: Run) -> Projection:
    """Return (weight name, tensor) -> the tensor where the variant's ranking of the weights' norms keeps it."""
    return lambda name, tensor: tensor * cut(model, run)[name]

'''

STARTS: Mapping[str, Start] = {
    "LWM": Start(
        words="lowest weight magnitude",
        formula="|w| of the effective weights.",
        score=_MAGNITUDE,
    ),
    "SOLWM": Start(
        words="lowest weight magnitude after ADMM",
        formula="|w|, after ADMM.",
        score=_MAGNITUDE,
        pull="ADMM(run.prunable(model), projection(model, run), interval=1, rho=self.settings.rho)",
        defined=_PROJECTION,
        imports=("from apx.admm import ADMM, Projection, cut",),
        setting='rho: float = Field(0.1, ge=0, description="weight of ADMM\'s penalty")',
    ),
    "RELWM": Start(
        words="lowest weight magnitude under a group lasso",
        formula="|w|, after the group lasso.",
        score=_MAGNITUDE,
        pull="Shrinkage(run.prunable(model), run.structure, self.settings.strength)",
        defined=_GROUP_LASSO,
        setting='strength: float = Field(1e-4, ge=0, description="weight of the group lasso")',
    ),
    "LIS": Start(
        words="least importance score",
        formula="|w dL/dw|: to first order, what the adversarial loss L would change by without the weight.",
        score="""gradients = run.scoring_gradients(model, names)
return {name: (model.fold(name) * gradients[name]).abs() for name in names}""",
    ),
    "HGM": Start(
        words="highest gradient magnitude",
        formula="|dL/dw| of the adversarial loss L: where it is highest, the weight stays.",
        score="""gradients = run.scoring_gradients(model, names)
alive = {name: model.masks.get(name, 1.0) for name in names}  # what is gone stays so
return {name: gradients[name].abs() * alive[name] for name in names}""",
    ),
    "BCS": Start(
        words="connections sampled in proportion to their magnitude",
        formula="|w| / e with e ~ Exp(1): keeping the highest draws without replacement, in proportion to |w|.",
        score="""drawn = {name: run.random(f"race/{name}", tuple(model.fold(name).shape)) for name in names}
return {name: model.fold(name).abs() / -drawn[name].clamp(1e-12, 1 - 1e-7).log() for name in names}""",
    ),
    "RANDOM": Start(
        words="random scores",
        formula="Uniform numbers, keyed by the run's seed.",
        score="""drawn = {name: run.random(f"scores/{name}", tuple(model.fold(name).shape)) for name in names}
alive = {name: model.masks.get(name, 1.0) for name in names}  # what is gone stays so
return {name: drawn[name] * alive[name] for name in names}""",
    ),
}
