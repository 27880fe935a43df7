"""Where scores compete: inside each layer, or across layers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...masks import weight_names
from ...specifics import Structure
from ..trial import Trial
from ..units import Count, alive_units, counts, judged_structure, layer_mask, slack
from ..verdict import Verdict, percent
from .structure import living, sparsity

_LOCAL = "L: each layer keeps its own share, within one unit"
_GLOBAL = "G: one ranking over all layers"


def locality(trial: Trial, other: Trial) -> Verdict:
    """Judge the locality by the counts that each layer keeps, or by the scores behind the masks.

    L, uniform: each layer keeps the requested share within one unit (where the total misses the request, which is
    another claim, all layers keep one share). L, fixed-nonuniform: the counts do not depend on the weights, so a run
    with another seed keeps the same. G: every kept score is at least every removed one's (`Method.scores`; a layer's
    last unit may be spared); a method that exposes no scores must at least treat layers differently. Where rates are
    learned or searched there is no ranking to compare with: the total is what counts.

    Args:
        trial: the run to judge.
        other: a run with another seed.
    """
    variant = trial.subject.variant
    if variant.budget in ("learned", "searched"):
        claimed = _LOCAL if variant.locality == "L" else _GLOBAL
        return Verdict("locality", claimed, f"rates are {variant.budget}: judged by the total alone", None)
    structure = judged_structure(trial)
    if variant.locality == "G":
        return _ranking(trial, structure) if trial.scores is not None else _different_rates(trial, structure)
    if variant.budget == "uniform":
        return _one_share(trial, structure)
    return _fixed_counts(trial, other, structure)


def excluded(trial: Trial) -> Verdict:
    """Judge whether the layers that the variant leaves out stay dense."""
    variant = trial.subject.variant
    names = [name for name in weight_names(trial.module) if name not in trial.names]
    claimed = f"{', '.join(variant.excluded_layers) or 'no layer'} left dense"
    if not names:
        return Verdict("excluded layers", claimed, "there is none", None)
    touched = [name for name in names if not bool(living(trial, name).all())]
    observed = f"weights removed in {', '.join(touched)}" if touched else f"{', '.join(names)} dense"
    return Verdict("excluded layers", claimed, observed, not touched)


def _one_share(trial: Trial, structure: Structure) -> Verdict:
    share = 1.0 - trial.subject.settings.sparsity
    kept, units = counts(trial, structure), slack(trial, structure)
    off = {name: abs(count.kept - share * count.total) for name, count in kept.items()}
    wrong = [name for name in kept if off[name] > units[name] + 1e-6]
    passed = not wrong or (not sparsity(trial).passed and _share_in_common(kept, units))
    return Verdict("locality", f"{_LOCAL} of {percent(share)}", _shares(kept), passed)


def _share_in_common(kept: Mapping[str, Count], units: Mapping[str, int]) -> bool:
    """Say whether one share explains all layers' counts, each within one unit."""
    lowest = max((count.kept - units[name]) / count.total for name, count in kept.items())
    highest = min((count.kept + units[name]) / count.total for name, count in kept.items())
    return lowest <= highest


def _fixed_counts(trial: Trial, other: Trial, structure: Structure) -> Verdict:
    mine, theirs, units = counts(trial, structure), counts(other, structure), slack(trial, structure)
    wrong = [name for name in mine if abs(mine[name].kept - theirs[name].kept) > units[name]]
    observed = f"{_shares(mine)}; another seed: {_shares(theirs)}" if wrong else f"{_shares(mine)}, with any seed"
    return Verdict("locality", "L: rates fixed beforehand, whatever the weights", observed, not wrong)


def _different_rates(trial: Trial, structure: Structure) -> Verdict:
    kept, units = counts(trial, structure), slack(trial, structure)
    observed = f"{_shares(kept)} (the method exposes no scores to rank again)"
    return Verdict("locality", _GLOBAL, observed, not _share_in_common(kept, units))


def _ranking(trial: Trial, structure: Structure) -> Verdict:
    scores = trial.scores or {}
    kept_scores, removed_scores = [], []
    for name in trial.names:
        alive = alive_units(layer_mask(trial, name), structure)
        if name not in scores or scores[name].shape != alive.shape:
            shape = tuple(scores[name].shape) if name in scores else "none"
            observed = f"scores of {name}: {shape}, units: {tuple(alive.shape)}"
            return Verdict("locality", _GLOBAL, observed, False)
        score = scores[name].cpu()
        removed_scores.append(score[~alive])
        if int(alive.sum()) > 1 or structure.label == "US":  # a layer's last unit may be spared
            kept_scores.append(score[alive])
    return _compare(torch.cat(kept_scores), torch.cat(removed_scores))


def _compare(kept: Tensor, removed: Tensor) -> Verdict:
    if not len(kept) or not len(removed):
        return Verdict("locality", _GLOBAL, f"{len(kept)} units kept, {len(removed)} removed", False)
    if len(removed) > 1 and bool((removed == removed[0]).all()):
        if bool((kept == removed[0]).all()):
            return Verdict("locality", _GLOBAL, "the scores are all equal: nothing was ranked", False)
        if not bool((kept == removed[0]).any()):  # else it is a tie across the cut, as among units that do nothing
            observed = "the removed units' scores are all equal: scores must be those before masking"
            return Verdict("locality", _GLOBAL, observed, False)
    worst = int((removed > kept.min()).sum())
    observed = f"lowest kept score {float(kept.min()):.4g}, highest removed {float(removed.max()):.4g}"
    return Verdict("locality", _GLOBAL, f"{observed}; {worst} removed units rank above a kept one", worst == 0)


def _shares(kept: Mapping[str, Count]) -> str:
    return "kept " + ", ".join(f"{name} {count.kept}/{count.total}" for name, count in kept.items())
