"""What one mask bit removes, and how much is removed."""

from torch import Tensor

from ...cost import macs_by_channel_share, output_positions
from ...specifics import Channels, Filters, structure_of
from ..trial import Trial
from ..units import broken_units, costs, counts, judged_structure, layer_mask
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

    Within one unit per layer, and one per bias where biases compete with single weights for the budget (each may go
    or stay in a weight's place); within 2 % of the total where rates are learned or searched, if that is more. Learned
    or searched shares of channels are judged by the multiply-adds that the asked share would leave everywhere. Where
    the request is for the first cut (`sparsity_at`), that is judged, over all weights, and the end is told.
    """
    variant = trial.subject.variant
    if variant.sparsity_at == "start":
        return _first_cut(trial)
    if variant.budget in ("learned", "searched") and variant.sparsity_unit == "channels":
        return _channel_budget(trial)
    requested = trial.subject.settings.sparsity
    counted, unit_worth = costs(trial, judged_structure(trial))
    total = sum(count.total * count.worth for count in counted.values())
    removed = sum((count.total - count.kept) * count.worth for count in counted.values())
    allowed = _allowed(trial, total, unit_worth)
    return Verdict(
        "sparsity",
        f"{percent(requested)} of the {variant.sparsity_unit} removed",
        f"{percent(removed / total)} ({removed:.0f} of {total:.0f}; allowed to be off by {allowed:.0f})",
        abs(removed - requested * total) <= allowed + 1e-6,
    )


def _first_cut(trial: Trial) -> Verdict:
    requested, names = trial.subject.settings.sparsity, trial.names
    sparse = [seen for seen in trial.observations if seen.own and seen.kept < seen.total]
    claimed = f"{percent(requested)} of the weights removed at first"
    if not sparse:
        return Verdict("sparsity", claimed, "nothing was ever removed", False)
    first, last = sparse[0], sparse[-1]
    prunable = sum(layer_mask(trial, name).numel() for name in names)
    observed = (
        f"{percent((first.total - first.kept) / prunable)}, at the end {percent((last.total - last.kept) / prunable)}"
    )
    off = abs(first.total - first.kept - requested * prunable)
    return Verdict("sparsity", claimed, observed, off <= max(TOLERANCE * prunable, len(names)))


def _channel_budget(trial: Trial) -> Verdict:
    requested = trial.subject.settings.sparsity
    shapes = {name: tuple(layer_mask(trial, name).shape) for name in trial.names}
    positions = output_positions(trial.module, trial.example)
    kept = {name: count.kept / count.total for name, count in counts(trial, Channels()).items()}
    asked = {name: max(1, round((1 - requested) * shape[1])) / shape[1] for name, shape in shapes.items()}
    dense = macs_by_channel_share(shapes, positions, dict.fromkeys(shapes, 1.0))
    left, wanted = (macs_by_channel_share(shapes, positions, shares) for shares in (kept, asked))
    claimed = f"the multiply-adds of {percent(requested)} of the channels removed everywhere, {percent(wanted / dense)}"
    one_unit = max(
        macs_by_channel_share(shapes, positions, asked | {name: asked[name] + 1 / shapes[name][1]}) - wanted
        for name in shapes
    )
    allowed = max(TOLERANCE * dense, one_unit)
    return Verdict("sparsity", claimed, f"{percent(left / dense)} left", abs(left - wanted) <= allowed)


def living(trial: Trial, name: str) -> Tensor:
    """Return where a weight is neither masked nor zero in the exported network."""
    exported = trial.state.get(name)
    mask = layer_mask(trial, name)
    return mask if exported is None else mask & (exported.cpu() != 0)


def _allowed(trial: Trial, total: float, unit_worth: dict[str, float]) -> float:
    by_counting = sum(unit_worth.values()) + _competing_biases(trial)
    moving = trial.subject.variant.budget in ("learned", "searched")
    return max(TOLERANCE * total, by_counting) if moving else by_counting


def _competing_biases(trial: Trial) -> int:
    if trial.subject.variant.granularity != "weights":
        return 0
    names = [name.removesuffix("weight") + "bias" for name in trial.names]
    return sum(trial.masks[name].numel() for name in names if name in trial.masks)
