"""A pruned network with its masks and the dense network that it was pruned from, as far as files tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..export import load_checkpoint
from ..masks import weight_names
from ..registry import entry
from ..runner.directory import RunDirectory
from ..runs import RunFolder, open_run
from ..target import Made, Opened, open_target

MASKS = "masks.safetensors"


@dataclass(frozen=True)
class PrunedNetwork:
    """What was pruned: the opened result, bool masks of its conv and linear weights, and its dense state dict.

    `dense_origin` says in words where the dense state comes from; `granularity` is what one mask bit removes.
    """

    opened: Opened
    masks: Mapping[str, Tensor]
    dense: Mapping[str, Tensor]
    dense_origin: str
    granularity: str = "weights"


def open_pruned(path: Path, dense: Path | None = None, given: Made | None = None) -> PrunedNetwork:
    """Open a pruned network with its masks and its dense network.

    Args:
        path: a run directory, whose own dense network and masks are taken, or a file of weights, whose zeros are.
        dense: a file of weights or a run directory, whose result is the dense network; the run's own where None.
        given: how the networks were made, where the files do not say; see `open_target`.

    Raises:
        UserError: `open_target` refuses a path, or nothing tells the dense network.
    """
    opened = open_target(path, given)
    place = Path(opened.facts["target"])  # of a run's model.safetensors it is the run directory
    run = open_run(place) if place.is_dir() else None
    if dense is None:
        try:
            state, origin = dense_of_run(place), "the run's pretrain phase"
        except UserError as error:
            raise UserError(f"{error}: give a dense network with --dense") from error
    elif dense.is_dir():
        state, origin = open_target(dense, given).module.state_dict(), str(dense)
    else:
        state, origin = load_checkpoint(dense), str(dense)
    variant = run.record.get("variant", {}) if run is not None else {}
    return PrunedNetwork(opened, masks_of(opened, run), state, origin, variant.get("granularity", "weights"))


def masks_of(opened: Opened, run: RunFolder | None = None) -> dict[str, Tensor]:
    """Return bool masks of all conv and linear weights: the run's, else those of the weights that are not zero."""
    weights = {name: opened.module.get_parameter(name).detach() for name in weight_names(opened.module)}
    masks = {name: weight != 0 for name, weight in weights.items()}
    if run is not None and (run.path / MASKS).is_file():
        stored = load_checkpoint(run.path / MASKS)
        for name in masks:  # a layer that was left dense has no mask
            masks[name] = stored[name].bool() if name in stored else torch.ones_like(masks[name])
    return masks


def dense_of_run(path: Path) -> dict[str, Tensor]:
    """Return the state dict of the dense network that the run at `path` pruned, as its phase `pretrain` left it.

    Raises:
        UserError: it is no run, its method does not prune a trained network, or the phase's checkpoint is gone.
    """
    run = open_run(path) if path.is_dir() else None
    if run is None:
        raise UserError(f"{path} does not say which dense network was pruned, as a run directory does")
    method = str(run.request.get("method"))
    stage = entry(method).implements.stage
    if stage != "after":  # a dense network in such a run was trained for comparison only
        raise UserError(f"{method} prunes {stage} training, so {path} comes from no dense network")
    state = RunDirectory(run.path).finished("pretrain")
    if state is None:
        raise UserError(f"{path} has lost its checkpoint of the dense network")
    return state["model"]["module"]
