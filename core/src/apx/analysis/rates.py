"""Four rates of a classifier under attack, from labels and two predictions per image."""

from dataclasses import asdict, dataclass

from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True)
class Rates:
    """What an attack did to n images; every rate is in [0, 1].

    With y the label, c the prediction on the image and a the prediction on its adversarial example:

    * `clean_accuracy`: share with c = y;
    * `remnant_accuracy`: share with a = y, images that were wrong and became right included;
    * `prediction_change_rate`: share with a != c, changes from one wrong class to another included: it is no attack
      success rate and can exceed one;
    * `strict_attack_success_rate`: share with a != y among the images with c = y; 0 where there is none.

    Hence remnant accuracy >= clean accuracy * (1 - strict attack success rate); the excess is the share of images
    that became right.
    """

    n: int
    clean_accuracy: float
    remnant_accuracy: float
    prediction_change_rate: float
    strict_attack_success_rate: float

    def document(self) -> dict[str, float]:
        """Return the rates as plain JSON values."""
        return asdict(self)


def four_rates(y: Tensor, c: Tensor, a: Tensor) -> Rates:
    """Return the rates of labels `y`, clean predictions `c` and adversarial predictions `a`, each int64 [n].

    Raises:
        UserError: the three differ in shape, or there is no image.
    """
    if y.dim() != 1 or not y.shape == c.shape == a.shape or not len(y):
        shapes = ", ".join(str(list(t.shape)) for t in (y, c, a))
        raise UserError(f"labels and predictions have the shapes {shapes}: give three of one shape [n], n at least 1")
    y, c, a = y.cpu(), c.cpu(), a.cpu()
    n, right = len(y), c == y
    correct, broken = int(right.sum()), int((right & (a != y)).sum())
    return Rates(
        n=n,
        clean_accuracy=correct / n,
        remnant_accuracy=int((a == y).sum()) / n,
        prediction_change_rate=int((a != c).sum()) / n,
        strict_attack_success_rate=broken / correct if correct else 0.0,
    )
