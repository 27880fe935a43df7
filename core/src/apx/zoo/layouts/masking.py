"""Masks in all the ways that methods store them, multiplied in: what is left are weights with zeros."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import UserError
from .wrapping import State

HARP_ALPHA = 0.1
"""The least keep rate of a layer over that of the network, which HARP's checkpoints do not hold: its default."""


def fold_masks(state: State, sparsity: float | None, said: list[str]) -> State:
    """Return the tensors with every mask, score and factor multiplied into the weight beside it.

    Args:
        state: tensors by name.
        sparsity: share of the weights that the method removed; checkpoints with scores do not hold it.
        said: what was found is added here, in words.

    Raises:
        UserError: scores without a sparsity, HARP's wrong export, a mask without its weight, or shapes that do not fit.
    """
    _refuse_export(state)
    for fold in (_pruning_reparametrisation, _popup_scores, _scores, _soft_masks, _factors, _plain_masks):
        state = fold(state, sparsity, said)
    return state


def _refuse_export(state: State) -> None:
    if any(name.endswith(".k_score") for name in state) and not any(name.endswith(".popup_scores") for name in state):
        raise UserError(
            "this is the dense export of HARP's code, which gives every layer the keep rate of the network: "
            "it is another network than the one that was trained; take the checkpoint with the scores"
        )


def _pruning_reparametrisation(state: State, _: float | None, said: list[str]) -> State:
    """`weight_orig` * `weight_mask`, as torch.nn.utils.prune stores it."""
    layers = _layers(state, "weight_orig")
    for layer in layers:
        weight, mask = state.pop(f"{layer}weight_orig"), _pop(state, f"{layer}weight_mask", layer)
        state[f"{layer}weight"] = _product(weight, mask, layer)
    return _found(state, layers, said, "weight_orig and weight_mask")


def _popup_scores(state: State, sparsity: float | None, said: list[str]) -> State:
    """HYDRA's and HARP's scores: the mask is that of the largest, per layer."""
    layers = _layers(state, "popup_scores")
    keep = _keep(sparsity, "popup_scores") if layers else 1.0
    learned = any(name.endswith("k_score") for name in state)
    for layer in layers:
        scores = state.pop(f"{layer}popup_scores").abs()
        rate: float | Tensor = keep
        if learned:
            least = keep * HARP_ALPHA
            rate = torch.sigmoid(_pop(state, f"{layer}k_score", layer).float()) * (1 - least) + least
        weight = _weight(state, layer)
        mask = _of_channels(scores, rate) if scores.shape != weight.shape else of_largest(scores, rate)
        state[f"{layer}weight"] = _product(weight, mask, layer)
    return _found(state, layers, said, "popup_scores" + (" and k_score" if learned else ""))


def _scores(state: State, sparsity: float | None, said: list[str]) -> State:
    """The scores of robust scratch tickets: as HYDRA's, for weights that were never trained."""
    layers = _layers(state, "scores")
    keep = _keep(sparsity, "scores") if layers else 1.0
    for layer in layers:
        scores = state.pop(f"{layer}scores").abs()
        state[f"{layer}weight"] = _product(_weight(state, layer), of_largest(scores, keep), layer)
    return _found(state, layers, said, "scores")


def _soft_masks(state: State, _: float | None, said: list[str]) -> State:
    """MAD's masks, softplus of what is stored."""
    layers = _layers(state, "mask_weight")
    for layer in layers:
        for part in ("weight", "bias"):
            if (raw := state.pop(f"{layer}mask_{part}", None)) is not None:
                state[f"{layer}{part}"] = _product(
                    _pop(state, f"{layer}{part}", layer), functional.softplus(raw), layer
                )
    return _found(state, layers, said, "mask_weight")


def _factors(state: State, _: float | None, said: list[str]) -> State:
    """TwinRep before its merge: a factor of the weight's shape, or a square one over output channels; then a mask."""
    layers = _layers(state, "aux_weight")
    for layer in layers:
        weight, factor = _weight(state, layer), state.pop(f"{layer}aux_weight")
        if factor.shape == weight.shape:
            product = weight * factor
        elif factor.shape == (len(weight), len(weight)):
            product = (factor @ weight.flatten(1)).view_as(weight)
        else:
            raise UserError(f"the factor of layer {layer[:-1]} has shape {_shape(factor)}, its weight {_shape(weight)}")
        state[f"{layer}weight"] = _product(product, _pop(state, f"{layer}mask", layer), layer)
    return _found(state, layers, said, "aux_weight")


def _plain_masks(state: State, _: float | None, said: list[str]) -> State:
    layers = _layers(state, "mask")
    for layer in layers:
        state[f"{layer}weight"] = _product(_weight(state, layer), state.pop(f"{layer}mask"), layer)
    return _found(state, layers, said, "mask")


def of_largest(scores: Tensor, keep: float | Tensor) -> Tensor:
    """Return 1 for all but the int((1 - keep) n) smallest of n scores, ties removed by position.

    The count is formed as the methods' code does: from a float32 tensor where the rate is one.
    """
    removed = int((1 - keep) * scores.numel())
    order = scores.flatten().argsort(stable=True)
    mask = torch.ones(scores.numel(), dtype=scores.dtype)
    mask[order[:removed]] = 0
    return mask.view_as(scores)


def _of_channels(scores: Tensor, keep: float | Tensor) -> Tensor:
    """Return a mask over input channels, [1, in, ...]: 1 for the round(keep in) largest scores.

    Raises:
        UserError: the scores are of output channels, which only HARP's pruning stage has.
    """
    if scores.dim() < 2 or len(scores) != 1 or scores.numel() != scores.shape[1]:
        raise UserError(
            f"scores of shape {_shape(scores)} are of HARP's stage before finetuning: take the finetuned checkpoint"
        )
    kept = int(torch.round(torch.as_tensor(keep) * scores.shape[1]))
    mask = torch.zeros_like(scores)
    mask.view(-1)[scores.flatten().topk(kept).indices] = 1
    return mask


def _keep(sparsity: float | None, what: str) -> float:
    if sparsity is None:
        raise UserError(f"this checkpoint holds {what} but not how many weights they keep: give the sparsity")
    if not 0 <= sparsity < 1:
        raise UserError(f"sparsity {sparsity} is not a share of the weights: give a number from 0 to below 1")
    return round(1 - sparsity, 10)  # 0.1, not 0.09999999999999998: counts are formed from it


def _layers(state: State, part: str) -> list[str]:
    """Return the prefixes, with their last dot, of the layers that have a tensor of that name."""
    return [name.removesuffix(part) for name in state if name == part or name.endswith(f".{part}")]


def _found(state: State, layers: list[str], said: list[str], what: str) -> State:
    if layers:
        said.append(f"with {what}")
    return state


def _weight(state: State, layer: str) -> Tensor:
    return _pop(state, f"{layer}weight", layer)


def _pop(state: State, name: str, layer: str) -> Tensor:
    if name not in state:
        raise UserError(
            f"layer {layer[:-1]} of the checkpoint has no {name.removeprefix(layer)}: the file is not whole"
        )
    return state.pop(name)


def _product(weight: Tensor, mask: Tensor, layer: str) -> Tensor:
    try:
        product = weight * mask
    except RuntimeError:
        product = None
    if product is None or product.shape != weight.shape:
        raise UserError(f"the mask of layer {layer[:-1]} has shape {_shape(mask)}, its weight {_shape(weight)}")
    return product


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
