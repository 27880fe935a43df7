"""Layer collapse: what pruning has left without a single weight (Tanaka et al., 2020, arXiv 2006.05467)."""

from torch import Tensor, nn

from .masks import prunable_layers

_NAMED = 10  # classes that a sentence lists


def collapsed(module: nn.Module) -> list[str]:
    """Say which layers of a plain (exported) network have no weight left, and which classes, one sentence each.

    Such a layer gives its bias whatever comes in, which ends the signal unless a shortcut leads around it; a class
    whose row of the last linear layer is empty has a constant logit. Empty where neither is the case.
    """
    weights = {name: layer.get_parameter("weight").detach() for name, layer in prunable_layers(module).items()}
    sentences = [f"layer {name} has no weight left" for name, weight in weights.items() if not weight.any()]
    linear = [name for name in weights if isinstance(module.get_submodule(name), nn.Linear)]
    if linear and weights[linear[-1]].any():
        sentences += _without_weights(linear[-1], weights[linear[-1]])
    return sentences


def _without_weights(name: str, weight: Tensor) -> list[str]:
    """Name the rows of the classifier's weight [classes, inputs] that are all zero."""
    empty = [row for row, kept in enumerate(weight.any(dim=1).tolist()) if not kept]
    if not empty:
        return []
    listed = ", ".join(map(str, empty[:_NAMED])) + (", ..." if len(empty) > _NAMED else "")
    return [f"{len(empty)} of {len(weight)} classes have no weight left in layer {name}, so constant logits: {listed}"]
