"""Which batch norm belongs to which convolution or linear layer, found by running the network once."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .errors import UserError
from .masks import Masks

_BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norm_followers(module: nn.Module, example: Tensor) -> dict[str, str]:
    """Map each convolution and linear layer to the batch norm that reads its output directly, by module name.

    A batch norm behind an addition or a concatenation (pre-activation networks) has no single producer and is not
    listed. The network runs once in eval mode on `example` [B, C, H, W]; mode and buffers stay as they are.
    """
    producers: dict[int, str] = {}
    followers: dict[str, str] = {}
    alive: list[Tensor] = []  # keeps outputs alive, so that an id is never reused

    def produced(name: str, output: Tensor) -> None:
        producers[id(output)] = name
        alive.append(output)

    def consumed(name: str, tensor: Tensor) -> None:
        if id(tensor) in producers:
            followers[producers[id(tensor)]] = name

    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            handles.append(layer.register_forward_hook(lambda m, i, o, n=name: produced(n, o)))
        elif isinstance(layer, _BatchNorm):
            handles.append(layer.register_forward_pre_hook(lambda m, i, n=name: consumed(n, i[0])))
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
        for layer, training in modes:
            layer.training = training
    return followers


def couple_filters(module: nn.Module, filters: Mapping[str, Tensor], example: Tensor) -> Masks:
    """Extend filter masks by what belongs to a removed filter: bias, and gamma, beta, running mean of its BN.

    Args:
        module: the network.
        filters: weight name -> bool mask, constant over each output filter (dim 0).
        example: an input, to find the batch norms.
    """
    followers = batch_norm_followers(module, example)
    tensors = dict(filters)
    for weight_name, mask in filters.items():
        layer_name = weight_name.removesuffix("weight").removesuffix(".")
        kept = mask.flatten(1).any(dim=1)
        layer = module.get_submodule(layer_name)
        if getattr(layer, "bias", None) is not None:
            tensors[f"{layer_name}.bias"] = kept
        if (norm_name := followers.get(layer_name)) is None:
            continue
        norm = module.get_submodule(norm_name)
        for part in ("weight", "bias", "running_mean"):
            if getattr(norm, part, None) is not None:
                tensors[f"{norm_name}.{part}"] = kept
    return Masks(tensors)


def check_couplable(module: nn.Module, name: str) -> None:
    """Refuse networks whose filters cannot be removed one by one: grouped convolutions and attention.

    Raises:
        UserError: naming the layer.
    """
    for layer_name, layer in module.named_modules():
        grouped = isinstance(layer, nn.Conv2d) and layer.groups > 1
        attention = "attention" in type(layer).__name__.lower()
        if grouped or attention:
            kind = "a grouped convolution" if grouped else "an attention layer"
            raise UserError(
                f"structured pruning cannot couple {layer_name} of {name} ({kind}); "
                f"choose --structure US, or an architecture of plain convolutions such as resnet18"
            )
