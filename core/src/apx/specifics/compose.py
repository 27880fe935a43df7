"""Criterion, structure and locality put together: one pruning step of a method that is nothing but its specifics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from ..coupling import couple_filters
from ..masks import Masks
from .criterion import Criterion
from .locality import Locality
from .named import check_saliencies, criterion_of

if TYPE_CHECKING:
    from ..masked_model import MaskedModel
    from ..runner.context import Run


def masks_by(criterion: Criterion | str, model: "MaskedModel", run: "Run", locality: Locality | None = None) -> Masks:
    """Score the prunable weights by `criterion` and keep the best in the variant's structure, locality and rates.

    Args:
        criterion: one, or the name of one that core or any plugin offers by the hook `apx_criteria`.
        model: what is pruned; it is left as it is.
        run: the run, inside a pruning step: its `target` is what the masks reach.
        locality: replaces the variant's where a method finds its rates itself (learned, searched budgets).

    Raises:
        UserError: no criterion has that name, or it returns other than saliencies of the weights' shapes.
    """
    chosen, names = criterion_of(criterion), run.prunable(model)
    saliencies = chosen.scores(model, names, run)
    check_saliencies(saliencies, names, model, chosen)
    return masks_from(saliencies, model, run, locality)


def masks_from(
    saliencies: Mapping[str, Tensor], model: "MaskedModel", run: "Run", locality: Locality | None = None
) -> Masks:
    """Turn saliencies (weight name -> tensor of the weight's shape) into masks that reach `run.target`."""
    scores = {name: run.structure.reduce(saliency) for name, saliency in saliencies.items()}
    return masks_from_units(scores, model, run, locality)


def masks_from_units(
    scores: Mapping[str, Tensor], model: "MaskedModel", run: "Run", locality: Locality | None = None
) -> Masks:
    """Turn unit scores into masks; with filters, what belongs to a removed one (bias, batch norm) goes with it."""
    shapes = {name: tuple(model.module.get_parameter(name).shape) for name in scores}
    units = (locality or run.locality).select(scores, shapes, run.target, run.structure)
    masks = {name: run.structure.expand(unit, shapes[name]) for name, unit in units.items()}
    if run.structure.granularity == "filters":
        return couple_filters(model.module, masks, run.example)
    return Masks(masks)
