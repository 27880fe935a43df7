"""What apx knows about a dataset: its splits, its classes and the threat it is defended against."""

from dataclasses import dataclass
from typing import Any

from apx.architectures.normalisation import Normalisation
from apx.datasets.augmentation import POLICIES
from apx.datasets.split import Split
from apx.errors import UserError
from apx.lookup import choose


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named dataset; selection reads `val`, only evaluation reads `test`.

    Args:
        name: what the user typed.
        train, val, test: the splits, of one image shape.
        num_classes: labels lie in range(num_classes).
        threat_eps: radius of the default threat, on images in [0, 1].
        norm: norm of the default threat.
        normalisation: per-channel statistics, for models whose paper normalises inside; not applied by itself.
        augmentation: name of the training augmentation (`apx.datasets.augmentation.POLICIES`).
        classes: class names in label order, where they are known.
    """

    name: str
    train: Split
    val: Split
    test: Split
    num_classes: int
    threat_eps: float
    norm: str = "Linf"
    normalisation: Normalisation | None = None
    augmentation: str = "none"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choose(POLICIES, self.augmentation, "augmentation")
        if self.num_classes < 2:
            raise UserError(f"the dataset '{self.name}' has {self.num_classes} class(es), at least 2 are needed")
        if not 0 < self.threat_eps <= 1:
            raise UserError(f"threat eps {self.threat_eps} is not allowed: images lie in [0, 1], so take 0 < eps <= 1")
        shapes = {self.train.shape, self.val.shape, self.test.shape}
        if len(shapes) > 1:
            raise UserError(f"the splits of '{self.name}' differ in image shape: {sorted(shapes)}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.train.shape

    def describe(self) -> dict[str, Any]:
        """Return the record of this dataset as plain JSON values; nothing is read for it."""
        statistics = self.normalisation
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "image_shape": list(self.image_shape),
            "sizes": {"train": len(self.train), "val": len(self.val), "test": len(self.test)},
            "threat": {"norm": self.norm, "eps": self.threat_eps},
            "augmentation": self.augmentation,
            "normalisation": statistics and {"mean": list(statistics.mean), "std": list(statistics.std)},
            "classes": list(self.classes),
        }
