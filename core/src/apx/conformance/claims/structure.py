"""What one mask bit removes, and how much is removed."""

from torch import Tensor

from ...specifics import Filters, structure_of
from ..trial import Trial
from ..units import broken_units, costs, judged_structure, layer_mask
from ..verdict import Verdict, percent

TOLERANCE = 0.02  # of the total, where rates are learned or searched and cannot be counted beforehand


def granularity(trial: Trial) -> Verdict:
    """Judge the granularity: what is masked or zero in the exported network is whole units.

    For single weights, some filter must have lost weights without being gone, or it would be structured pruning.
    """
    variant = trial.subject.variant
    structure = structure_of(variant.granularity)
    broken = {name: broken_units(living(trial, name), structure) for name in trial.names}
    claimed = f"{variant.structure}: whole {variant.granularity} are zero"
    if wrong := {name: count for name, count in broken.items() if count}:
        name, count = next(iter(wrong.items()))
        text = f"{count} {variant.granularity} of {name} are zero in part ({sum(wrong.values())} in all layers)"
        return Verdict("granularity", claimed, text, False)
    if variant.structure == "US":
        thinned = sum(broken_units(living(trial, name), Filters()) for name in trial.names)
        return Verdict("granularity", claimed, f"{thinned} filters have lost some weights and live", thinned > 0)
    return Verdict("granularity", claimed, f"no {variant.granularity} are zero in part", True)


def sparsity(trial: Trial) -> Verdict:
    """Judge whether the masks reach the requested sparsity, in the variant's own unit and over its own layers.

    Within one unit per layer; within 2 % of the total where rates are learned or searched, if that is more.
    """
    requested = trial.subject.settings.sparsity
    counted, unit_worth = costs(trial, judged_structure(trial))
    total = sum(count.total * count.worth for count in counted.values())
    removed = sum((count.total - count.kept) * count.worth for count in counted.values())
    allowed = _allowed(trial, total, unit_worth)
    unit = trial.subject.variant.sparsity_unit
    return Verdict(
        "sparsity",
        f"{percent(requested)} of the {unit} removed",
        f"{percent(removed / total)} ({removed:.0f} of {total:.0f}; allowed to be off by {allowed:.0f})",
        abs(removed - requested * total) <= allowed + 1e-6,
    )


def living(trial: Trial, name: str) -> Tensor:
    """Return where a weight is neither masked nor zero in the exported network."""
    exported = trial.state.get(name)
    mask = layer_mask(trial, name)
    return mask if exported is None else mask & (exported.cpu() != 0)


def _allowed(trial: Trial, total: float, unit_worth: dict[str, float]) -> float:
    by_counting = sum(unit_worth.values())
    moving = trial.subject.variant.budget in ("learned", "searched")
    return max(TOLERANCE * total, by_counting) if moving else by_counting
