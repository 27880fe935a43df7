"""Criteria by name, core's and those that plugins offer, so that one method can use another's without importing it."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import UserError
from ..lookup import choose
from .criterion import Criterion, GradientMagnitude, Magnitude, RandomScore

if TYPE_CHECKING:
    from ..masked_model import MaskedModel

BUILTIN_CRITERIA: dict[str, type[Criterion]] = {
    criterion.label: criterion for criterion in (GradientMagnitude, Magnitude, RandomScore)
}


def criterion_of(name: str | Criterion) -> Criterion:
    """Return the criterion of a name (`LWM`, `HGM`, `RANDOM`, or one that a plugin offers by `apx_criteria`).

    A criterion is returned as it is.

    Raises:
        UserError: there is no such name (the sentence has the nearest and all allowed ones), or what the plugin offers
            under it is neither a `Criterion` nor a class of one that needs no arguments.
    """
    if isinstance(name, Criterion):
        return name
    if name in BUILTIN_CRITERIA:  # core's names cannot be taken over, so no plugin need be loaded
        return BUILTIN_CRITERIA[name]()
    from ..registry import criteria

    return _made(choose(criteria(), name, "criterion"), name)


def check_saliencies(saliencies: object, names: list[str], model: "MaskedModel", criterion: Criterion) -> None:
    """Hold what a criterion returned against its contract: for each of `names` a tensor of the weight's shape.

    Raises:
        UserError: a weight has no saliencies, or saliencies of another shape.
    """
    kind = type(criterion).__name__
    if not isinstance(saliencies, Mapping):
        raise UserError(f"the criterion {kind} returned {type(saliencies).__name__}, not weight name -> tensor")
    for name in names:
        shape, found = model.module.get_parameter(name).shape, saliencies.get(name)
        if not isinstance(found, Tensor) or found.shape != shape:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"the criterion {kind} scored {name} by {got}; it must return a tensor of {list(shape)}")


def _made(offered: Any, name: str) -> Criterion:
    if isinstance(offered, Criterion):
        return offered
    if not (isinstance(offered, type) and issubclass(offered, Criterion)) or inspect.isabstract(offered):
        raise UserError(
            f"the criterion '{name}' that a plugin offers is {offered!r}; it must be an apx.specifics.Criterion or a "
            "class of one"
        )
    try:
        inspect.signature(offered).bind()
    except TypeError as error:
        raise UserError(
            f"the criterion '{name}' that a plugin offers cannot be made by its name alone ({error}); its plugin has "
            "to offer an instance"
        ) from None
    return offered()
