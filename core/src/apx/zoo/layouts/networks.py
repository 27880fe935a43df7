"""Which of apx's architectures a set of tensors is, and whether it is that and nothing else."""

from __future__ import annotations

import torch

from ...architectures import build
from ...errors import UserError
from .wrapping import State


def network_of(state: State, *, average: bool) -> str:
    """Return the architecture that these tensors belong to.

    Two networks of the same names may differ in what has no tensors: only the naming habit of those who pool the last
    map by averages tells the linear VGG-16s apart.

    Args:
        state: tensors under canonical names.
        average: the features were called `feature`.

    Raises:
        UserError: none of the known networks has these tensors.
    """
    if "linear.weight" in state:
        return "preact_resnet18" if "bn.weight" in state and "bn1.weight" not in state else "resnet18"
    if "classifier.weight" in state:
        return "vgg16_bn_linear_avg" if average else "vgg16_bn_linear"
    head = state.get("classifier.0.weight")
    heads: dict[tuple[int, ...], str] = {
        (256, 2048): "vgg16",
        (512, 512): "vgg16_bn_mlp512",
        (4096, 512): "vgg16_bn_fc4096",
    }
    if head is not None and tuple(head.shape) in heads:
        return heads[tuple(head.shape)]
    if head is not None:
        known = ", ".join(f"{out}x{read}" for out, read in heads)
        raise UserError(f"no known network has a head of {'x'.join(map(str, head.shape))}: there are {known}")
    few = ", ".join(list(state)[:3])
    raise UserError(
        f"the checkpoint holds no network that is known here: its tensors are {few}, ... ({len(state)} in all)"
    )


def check_whole(state: State, arch: str, num_classes: int) -> None:
    """Hold every name and shape against the architecture.

    Raises:
        UserError: a tensor is missing, left over, or of another shape.
    """
    with torch.device("meta"):
        expected = build(arch, num_classes=num_classes).state_dict()
    if missing := [name for name in expected if name not in state]:
        raise UserError(
            f"the checkpoint lacks {_several(missing)} of a {arch}: the file is not whole, or another network"
        )
    if unknown := [name for name in state if name not in expected]:
        raise UserError(f"the checkpoint has {_several(unknown)}, which a {arch} does not have")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            found, wanted = (tuple(shape) for shape in (state[name].shape, tensor.shape))
            raise UserError(f"{name} of the checkpoint has shape {found}, that of a {arch} {wanted}")


def classes_of(state: State, arch: str) -> int:
    """Return the number of logits: the rows of the last linear layer."""
    last = {"vgg16": "classifier.4", "vgg16_bn_mlp512": "classifier.3", "vgg16_bn_fc4096": "classifier.6"}
    name = last.get(arch, "linear" if "resnet" in arch else "classifier")
    weight = state.get(f"{name}.weight")
    if weight is None or weight.dim() != 2:
        raise UserError(f"the checkpoint has no layer {name} that could be the head of a {arch}")
    return len(weight)


def _several(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
