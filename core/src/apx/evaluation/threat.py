"""What an attacker may do: a ball round the image, inside the box [0, 1]."""

from dataclasses import dataclass

from torch import Tensor

from .norms import length

_ROUNDING = 1e-6  # of float32, in x + eps


@dataclass(frozen=True)
class Threat:
    """A norm (`norms.ORDERS`) and a radius, for images in [0, 1]."""

    norm: str
    eps: float

    def allows(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return bool [B]: `x_adv` is within `eps` of `x` and in [0, 1]; NaN is outside."""
        # the other norms add up the rounding of many values
        slack = _ROUNDING if self.norm == "Linf" else 1e-5 * max(1.0, self.eps)
        return (length(x_adv - x, self.norm) <= self.eps + slack) & in_box(x_adv)


def in_box(images: Tensor) -> Tensor:
    """Return bool [B]: all values of an image lie in [0, 1]."""
    return ((images >= 0) & (images <= 1)).flatten(1).all(dim=1)
