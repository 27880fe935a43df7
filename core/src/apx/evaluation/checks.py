"""What makes an evaluation doubtful, said in the document's `warnings`."""

import torch
from torch import Tensor
from torch.nn import functional

from .network import Logits
from .samples import Batch, Samples


def sample_warnings(samples: Samples) -> list[str]:
    """Warn of a partial evaluation."""
    if samples.complete:
        return []
    return [f"evaluated on {len(samples)} samples, fewer than the split has: read the interval"]


def network_warnings(network: Logits, batch: Batch, logits: Tensor) -> list[str]:
    """Warn of outputs and gradients that mislead gradient attacks; two more passes over one batch.

    Args:
        network: the network, ready for attack.
        batch: the first batch.
        logits: what the network said about it, [B, classes].
    """
    warnings = []
    with torch.no_grad():
        again = network(batch.x)
    if not torch.allclose(again, logits, rtol=1e-3, atol=1e-4):
        warnings.append("the model is randomised (two passes differ): the result is too optimistic")
    if _are_probabilities(logits):
        warnings.append("the model returns probabilities, not logits: the result is too optimistic")
    if logits.shape[1] < 4:
        warnings.append(f"the model has {logits.shape[1]} classes: AutoAttack needs at least 4")
    without = _without_gradient(network, batch, logits)
    if without:
        warnings.append(
            f"{without} of the first {len(batch.y)} samples have a zero gradient: gradient attacks are blind"
        )
    return warnings


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
