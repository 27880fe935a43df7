"""The soft mask of all weights that lowers the loss of one adversarial batch most."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

FULL = math.log(math.e - 1.0)  # softplus(FULL) = 1
LEAST = math.log(math.expm1(1e-4))  # softplus(LEAST) = 1e-4


def search_masks(
    network: nn.Module, names: Iterable[str], x_adv: Tensor, y: Tensor, *, steps: int = 20, lr: float = 0.1
) -> dict[str, Tensor]:
    """Return the masks m = softplus(r) in [1e-4, 1] that Adam finds for min_r CE(f_{W m}(x_adv), y), starting at m = 1.

    Args:
        network: in eval mode, its parameters frozen; it is read, never written.
        names: the parameters that are masked (weights, biases).
        x_adv: adversarial images, float [B, C, H, W].
        y: labels, int64 [B].
        steps: Adam steps.
        lr: Adam's rate; a step moves r by about as much.
    """
    weights = {name: network.get_parameter(name).detach() for name in names}
    free = {name: torch.full_like(weight, FULL).requires_grad_() for name, weight in weights.items()}
    optimizer = torch.optim.Adam(free.values(), lr=lr, fused=True)
    for _ in range(steps):
        products = {name: weights[name] * functional.softplus(r) for name, r in free.items()}
        loss = functional.cross_entropy(functional_call(network, products, (x_adv,)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for r in free.values():
                r.clamp_(LEAST, FULL)
    return {name: mask_of(r.detach()) for name, r in free.items()}


def mask_of(r: Tensor) -> Tensor:
    """Return softplus(r), and exactly 1 at the upper end, where a rounded softplus would leave a displacement."""
    return functional.softplus(r).masked_fill(r >= torch.tensor(FULL, dtype=r.dtype), 1.0)
