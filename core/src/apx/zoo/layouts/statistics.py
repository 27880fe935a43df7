"""With which statistics a published network normalises its input: by its file, or by its method's code."""

from __future__ import annotations

from typing import Literal

from ...architectures.normalisation import Normalisation
from ...errors import UserError
from .wrapping import State

Origin = Literal["file", "method", "none"]

_CIFAR10_MEAN, _SVHN_MEAN = (0.4914, 0.4822, 0.4465), (0.43090966, 0.4302428, 0.44634357)
_SVHN_STD = (0.19759192, 0.20029082, 0.19811132)
_BIRDS = {
    "cifar10": Normalisation(_CIFAR10_MEAN, (0.2470, 0.2435, 0.2616)),
    "svhn": Normalisation(_SVHN_MEAN, _SVHN_STD),
}
BY_METHOD = {
    "flyingbird": _BIRDS,
    "robustbird": _BIRDS,
    "mad": {
        "cifar10": Normalisation(_CIFAR10_MEAN, (0.2023, 0.1994, 0.2010)),
        "svhn": Normalisation(_SVHN_MEAN, _SVHN_STD),
    },
    "rst": {  # by the data loader, so that the published attacks were made in normalised space
        "cifar10": Normalisation((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
        "svhn": Normalisation((0.5,) * 3, (0.5,) * 3),
    },
}
"""Method -> data set -> statistics that its code has and its checkpoints do not hold."""

LOADER = "rst"
"""The method that normalises outside its network: with its published numbers this may have been left out."""


def pop_statistics(state: State) -> Normalisation | None:
    """Take the statistics of a `normalize` layer out of the tensors; None where there are none.

    Raises:
        UserError: one of the two is missing.
    """
    found = {part: state.pop(f"normalize.{part}", None) for part in ("mean", "std")}
    mean, std = found["mean"], found["std"]
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UserError("the checkpoint has one of normalize.mean and normalize.std: the file is not whole")
    return Normalisation(*(tuple(float(value) for value in one.flatten()) for one in (mean, std)))


def statistics_of_method(method: str | None, dataset: str | None) -> Normalisation | None:
    """Return what a method's code normalises by on a data set; None where it does not, or nothing is known."""
    return BY_METHOD.get(method or "", {}).get(dataset or "")
