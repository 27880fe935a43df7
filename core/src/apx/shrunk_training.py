"""Training a structured network at its real size: what is masked for good is taken out, and put back at the end.

Masks leave a network as big as it was, and training pays for every removed filter. Where a filter, its bias and its
batch norm are masked, it emits exactly zero at every step: the network without it has the same losses, gradients and
statistics, up to the rounding of shorter sums. What reads a removed filter sees zeros, so its weights there have no
effect; they keep the values that they had, where training at full size would let weight decay move them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .errors import UserError
from .masked_model import MaskedModel
from .masks import Masks
from .memory_format import lay_out
from .shrinking import without_dead_and_origins

WORTHWHILE = 0.1
"""Share of the entries of all tensors that must go; below it the network is trained as it is."""


@dataclass(frozen=True)
class Smaller:
    """The smaller network with the masks that are left, and where each of its entries belongs.

    `origins`: tensor name -> flat indices (row-major) into the full tensor, in the shape of the smaller one.
    """

    model: MaskedModel
    origins: Mapping[str, Tensor]

    @torch.no_grad()
    def write_back(self, full: MaskedModel) -> None:
        """Copy parameters and buffers into the network that this was made of; what was taken out there stays."""
        small = self.model.module.state_dict()
        for name, tensor in full.module.state_dict().items():
            if tensor.dim() == 0:
                tensor.copy_(small[name])
                continue
            flat = tensor.flatten()  # row-major, whatever the layout; a copy where that is another
            flat[self.origins[name].flatten()] = small[name].flatten()
            tensor.copy_(flat.view(tensor.shape))
        full.refresh()


def smaller(model: MaskedModel, example: Tensor) -> Smaller | None:
    """Return the network without what its masks remove for good; None where that is little, or would not be exact.

    Args:
        model: with masks of whole filters, biases and batch norms, and no learned scores; it is not changed.
        example: images [B, C, H, W] to trace the network with.
    """
    if not model.masks or len(model.reparametrisations):
        return None
    plain = _folded(model)
    try:
        small, origins = without_dead_and_origins(plain, example)
    except UserError:  # it cannot be traced, or would answer otherwise: then it is trained as it is
        return None
    sizes = {name: tensor.numel() for name, tensor in plain.state_dict().items()}
    left = sum(origins[name].numel() if name in origins else 1 for name in sizes)
    if left > (1 - WORTHWHILE) * sum(sizes.values()) or not _masked_for_good(model, origins):
        return None
    lay_out(small)
    made = MaskedModel(small, storage=model.storage)
    hidden = {name: _taken(tensor, origins.get(name)) for name, tensor in model.module.state_dict().items()}
    small.load_state_dict(hidden)
    masks = {name: _taken(mask, origins[name]) for name, mask in model.masks.items()}
    made.set_masks(Masks({name: mask for name, mask in masks.items() if not bool(mask.all())}))
    made.train(model.training)
    return Smaller(made, origins)


def _folded(model: MaskedModel) -> nn.Module:
    plain = copy.deepcopy(model.module)
    plain.load_state_dict(model.folded_state())
    return plain


def _masked_for_good(model: MaskedModel, origins: Mapping[str, Tensor]) -> bool:
    """Say whether everything that was taken out is masked, or reads nothing but what was.

    Rows of a weight tensor are filters, which must be masked whole; columns read the channels of another layer. All
    other tensors have one entry per channel. Running variances of masked channels are never masked: nothing reads them.
    """
    for name, tensor in model.module.state_dict().items():
        if tensor.dim() == 0 or name.endswith("running_var"):
            continue
        kept = torch.zeros(tensor.numel(), dtype=torch.bool, device=tensor.device)
        kept[origins[name].flatten()] = True
        rows = kept.view(tensor.shape[0], -1).any(dim=1)
        mask = model.masks.get(name)
        alive = torch.ones_like(tensor, dtype=torch.bool) if mask is None else mask
        if bool(alive.reshape(tensor.shape[0], -1)[~rows].any()):
            return False
    return True


def _taken(tensor: Tensor, origins: Tensor | None) -> Tensor:
    return tensor if origins is None else tensor.flatten()[origins]
