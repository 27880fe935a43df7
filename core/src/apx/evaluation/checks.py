"""What makes an evaluation doubtful: outputs and gradients that mislead gradient attacks."""

import torch
from torch import Tensor
from torch.nn import functional

from .network import Logits
from .samples import Batch
from .warning import Warnings


def check_network(warnings: Warnings, network: Logits, batch: Batch, logits: Tensor) -> None:
    """Warn of what misleads gradient attacks; two more passes over one batch.

    Args:
        warnings: what is added to.
        network: the network, ready for attack.
        batch: the first batch.
        logits: what the network said about it, [B, classes].
    """
    with torch.no_grad():
        again = network(batch.x)
    if not torch.allclose(again, logits, rtol=1e-3, atol=1e-4):
        warnings.add("randomised")
    if _are_probabilities(logits):
        warnings.add("probabilities")
    if logits.shape[1] < 4:
        warnings.add("few-classes", logits.shape[1])
    if without := _without_gradient(network, batch, logits):
        warnings.add("zero-gradient", without)


def _are_probabilities(logits: Tensor) -> bool:
    sums_to_one = ((logits.sum(dim=1) - 1).abs() < 1e-5).all()
    return bool((logits >= 0).all() & (logits <= 1 + 1e-5).all() & sums_to_one)


def _without_gradient(network: Logits, batch: Batch, logits: Tensor) -> int:
    x = batch.x.clone().requires_grad_(True)
    with torch.enable_grad():
        loss = functional.cross_entropy(network(x), batch.y, reduction="sum")
    if not loss.requires_grad:
        return len(batch.y)
    (gradient,) = torch.autograd.grad(loss, x, allow_unused=True)
    if gradient is None:
        return len(batch.y)
    correct = logits.argmax(dim=1) == batch.y
    return int(((gradient.flatten(1) == 0).all(dim=1) & correct).sum())
