"""The losses that minimum-norm attacks minimise, one value per sample: small where the sample is misclassified."""

import math

from torch import Tensor
from torch.nn import functional

from ..errors import UserError


def logit_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return z_y - max_{j != y} z_j, [B]: the logit loss (LL), negative where misclassified."""
    own = logits.gather(1, y[:, None])[:, 0]
    others = logits.scatter(1, y[:, None], -math.inf)
    return own - others.amax(dim=1)


def negative_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return minus the cross-entropy, [B]."""
    return -functional.cross_entropy(logits, y, reduction="none")


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the difference-of-logits ratio (Croce & Hein, ICML 2020), [B]: -margin / (z_(1) - z_(3)).

    Raises:
        UserError: fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise UserError(f"the loss DLR needs at least 3 classes, the model has {logits.shape[1]}: use LL or CE")
    top = logits.topk(3, dim=1).values
    return -logit_margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)


def negative_dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return minus `dlr`, [B]."""
    return -dlr(logits, y)


LOSSES = {"LL": logit_margin, "CE": negative_cross_entropy, "DLR": negative_dlr}
"""What is minimised, by the names of HO-FMN."""
