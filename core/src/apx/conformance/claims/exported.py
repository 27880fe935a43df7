"""What is handed over: zeros where the masks say so, nothing left alive of a removed filter, honest numbers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...coupling import batch_norm_followers
from ...masks import PRUNABLE, reported_sparsity
from ..trial import Trial
from ..verdict import Verdict, percent
from .structure import TOLERANCE


def masked_zero(trial: Trial) -> Verdict:
    """Judge whether every masked tensor of the exported network is exactly zero where it is masked."""
    claimed, state = "masked weights are exactly zero at the end", trial.state
    missing = [name for name in trial.masks if name not in state]
    if missing:
        return Verdict("masked zero", claimed, f"the exported network has no tensor {missing[0]}", False)
    alive = {name: int((state[name].cpu()[~mask.cpu()] != 0).sum()) for name, mask in trial.masks.items()}
    wrong = {name: count for name, count in alive.items() if count}
    masked = sum(int((~mask).sum()) for mask in trial.masks.values())
    if wrong:
        name, count = next(iter(wrong.items()))
        text = f"{sum(wrong.values())} of {masked} masked entries are not zero, {count} of them in {name}"
        return Verdict("masked zero", claimed, text, False)
    return Verdict("masked zero", claimed, f"all {masked} masked entries are zero", True)


def dead_batch_norm(trial: Trial) -> Verdict:
    """Judge whether a removed filter emits exactly zero: bias, and gamma, beta, running mean of its batch norm.

    With `fidelity="official"` what the official code leaves alive may live.
    """
    claimed = "bias and batch norm of a removed filter are zero"
    if trial.subject.variant.granularity != "filters":
        return Verdict("dead batch norm", claimed, "no filters are claimed", None)
    if trial.subject.settings.fidelity == "official":
        return Verdict("dead batch norm", claimed, "fidelity official leaves them", None)
    followers = batch_norm_followers(trial.module, trial.example)
    removed, alive = 0, []
    for name, layer in trial.module.named_modules():
        if not isinstance(layer, PRUNABLE) or f"{name}.weight" not in trial.names:
            continue
        gone = (layer.weight == 0).flatten(1).all(dim=1)
        removed += int(gone.sum())
        parts = _parts(trial.module, name, followers)
        alive += [part for part, tensor in parts.items() if bool((tensor[gone] != 0).any())]
    observed = f"alive: {', '.join(alive)}" if alive else f"nothing of {removed} removed filters is alive"
    return Verdict("dead batch norm", claimed, observed, not alive)


def reported(trial: Trial) -> Verdict:
    """Judge what a method tells of its own sparsity or density, as numbers in the run's metrics.

    A metric whose name contains `sparsity` or `density` has to agree, within 2 points, with what was seen in its
    phase and epoch, or with the exported network.
    """
    told = [(record, name) for record in trial.metrics for name in _tells(record)]
    claimed = "numbers that the method reports are those measured"
    wrong = [(record, name) for record, name in told if not _true(trial, record, name)]
    if not told:
        return Verdict("reported", claimed, "the method reports none", None)
    if wrong:
        record, name = wrong[0]
        where = f"{record['phase']}, epoch {record['epoch']}"
        measured = percent(reported_sparsity(trial.module))
        text = f"{name} = {record[name]:.4g} in {where}; the exported network's sparsity is {measured}"
        return Verdict("reported", claimed, text, False)
    return Verdict("reported", claimed, f"{len(told)} numbers agree", True)


def _parts(module: nn.Module, layer: str, followers: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Return the per-filter tensors that belong to a convolution or linear layer, by name."""
    names = [f"{layer}.bias"]
    if (norm := followers.get(layer)) is not None:
        names += [f"{norm}.{part}" for part in ("weight", "bias", "running_mean")]
    state = module.state_dict()
    return {name: state[name] for name in names if name in state}


def _tells(record: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, value in record.items()
        if ("sparsity" in name or "density" in name) and isinstance(value, int | float)
    ]


def _true(trial: Trial, record: Mapping[str, Any], name: str) -> bool:
    seen = [s for s in trial.observations if s.phase == record["phase"] and s.epoch in (None, record["epoch"])]
    densities = [s.density for s in seen] + [1.0 - reported_sparsity(trial.module)]
    value = record[name] if "density" in name else 1.0 - record[name]
    return any(abs(value - density) <= TOLERANCE for density in densities)
