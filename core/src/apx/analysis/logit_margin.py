"""The logit margin, a cheap stand-in for the distance to the boundary."""

import torch
from torch import Tensor, nn

from ..evaluation.margins import logit_margin
from ..evaluation.network import check_logits, device_of, ready_for_attack
from ..evaluation.samples import Source, draw


def logit_margins(
    module: nn.Module,
    split: Source,
    *,
    n: int | None = None,
    batch_size: int = 128,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return z_y - max_{j != y} z_j of each clean sample, float [n], on the CPU; negative where it is misclassified.

    Args:
        module: maps images [B, C, H, W] in [0, 1] to logits [B, classes]; it is left as it was.
        split, n: the samples, the same as those of `apx.evaluation.evaluate`.
        batch_size: samples per pass.
        device: where to run; where the module is, if None.

    Raises:
        UserError: unusable samples or outputs.
    """
    samples = draw(split, n)
    where = device_of(module) if device is None else torch.device(device)
    parts = []
    with ready_for_attack(module, where) as network, torch.no_grad():
        for batch in samples.batches(torch.arange(len(samples)), batch_size, where):
            logits = network(batch.x)
            check_logits(logits, batch.y)
            parts.append(logit_margin(logits, batch.y).cpu())
    return torch.cat(parts)
