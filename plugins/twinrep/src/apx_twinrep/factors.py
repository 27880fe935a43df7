"""The two weight factorisations of TwinRep: element-wise (Twin-Rep) and over output channels (Channel-Rep)."""

import math

import torch
from torch import Tensor, nn

from apx.coupling import batch_norm_followers
from apx.reparametrisation import Reparametrisation


class Twin(Reparametrisation):
    """V = W * A * M, both factors in the weight's shape (Twin-Rep); decay on both is an l1 pressure on V."""

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = nn.Parameter(factor)

    def forward(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        """Return W * A * M."""
        product = weight * self.factor
        return product if mask is None else product * mask


class Channel(Reparametrisation):
    """V[p] = (sum_q A[p, q] W[q]) * M[p], A square over output channels (Channel-Rep)."""

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = nn.Parameter(factor)

    def forward(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        """Return (A @ W) * M."""
        product = (self.factor @ weight.flatten(1)).view_as(weight)
        return product if mask is None else product * mask


def uniform_factor(weight: Tensor, uniform: Tensor, *, channel: bool) -> Tensor:
    """Return the official initial A from `uniform` numbers in [0, 1): U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    The fan-in is the weight's own for Twin-Rep and the number of output channels for Channel-Rep.
    """
    fan_in = len(weight) if channel else weight[0].numel()
    return (2.0 * uniform - 1.0) / math.sqrt(fan_in)


def balanced_factors(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return (W, A) with W * A = w and |W| = |A| = sqrt|w|, where the decay of both costs least."""
    root = weight.abs().sqrt()
    return torch.sign(weight) * root, root


@torch.no_grad()
def equalise_filters(module: nn.Module, example: Tensor) -> None:
    """Scale each convolution that a batch norm follows to a mean filter norm of 1/3; the network's outputs stay.

    That is the norm of a filter of V that starts from `uniform_factor`, in every layer alike; without it a ranking over
    layers compares their scales. `example` [B, C, H, W] shows which batch norm follows.
    """
    for name, follower in batch_norm_followers(module, example).items():
        layer, norm = module.get_submodule(name), module.get_submodule(follower)
        if not isinstance(layer, nn.Conv2d):
            continue
        scale = 1.0 / (3.0 * layer.weight.flatten(1).norm(dim=1).mean())
        for tensor in (layer.weight, layer.bias, norm.running_mean):
            if isinstance(tensor, Tensor):
                tensor.mul_(scale)
        if isinstance(norm.running_var, Tensor):
            norm.running_var.mul_(scale.square())
