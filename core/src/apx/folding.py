"""Batch norms folded into the layers before them: in eval mode a batch norm is one factor and one shift per channel.

Which layer a batch norm may be folded into is not read off the code but seen: the tensor it gets is the very one that a
convolution or linear layer returned, no other operation reads that tensor, and both layers run once per pass. So
control flow that depends on shapes, hooks and normalisation before the network are no obstacle, as they are to
`torch.fx`.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .architectures.convolution import Conv2d

# exact types: a subclass may compute something else
_LAYERS = (Conv2d, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batch_norms(module: nn.Module) -> list[nn.Module]:
    """Return the batch norms in `module`, PyTorch's own without subclasses."""
    return [layer for layer in module.modules() if type(layer) in _BATCH_NORMS]


@torch.no_grad()
def fold_batch_norms(module: nn.Module, example: Tensor) -> int:
    """Fold every batch norm that follows a layer of its own into that layer, in place, and return how many.

    The batch norm makes room for an `nn.Identity`. The new weights are computed in double precision and rounded once.

    Args:
        module: a network in eval mode; what it computes changes by rounding alone.
        example: images [B, C, H, W] on the module's device, run once to see which layer feeds which.
    """
    pairs = _pairs(module, example)
    for layer, norm in pairs:
        _fold(layer, norm)
        _replace(module, norm, nn.Identity().train(norm.training))
    return len(pairs)


class _Pass(TorchDispatchMode):
    """One pass under watch: how often each layer ran, which tensor it returned, and who else read that tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[nn.Module] = Counter()
        self.returned: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensors are kept, or ids could come again
        self.normed: list[tuple[nn.Module, Tensor]] = []
        self.others: set[int] = set()
        self._in_norm = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and to say so would import the compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._in_norm:
            self.others.update(id(value) for value in tree_leaves((args, kwargs)) if id(value) in self.returned)
        return func(*args, **(kwargs or {}))

    def after_layer(self, layer: nn.Module, _: Any, output: Tensor) -> None:
        self.calls[layer] += 1
        self.returned[id(output)] = (layer, output)

    def before_norm(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.calls[norm] += 1
        self.normed.append((norm, inputs[0]))
        self._in_norm = True

    def after_norm(self, *_: Any) -> None:
        self._in_norm = False

    def pairs(self, answers: Any) -> list[tuple[nn.Module, nn.Module]]:
        """Return (layer, batch norm) where the layer's output goes to the batch norm and nowhere else."""
        others = self.others | {id(value) for value in tree_leaves(answers)}
        inputs = Counter(id(x) for _, x in self.normed)
        return [
            (self.returned[id(x)][0], norm)
            for norm, x in self.normed
            if id(x) in self.returned
            and id(x) not in others
            and inputs[id(x)] == 1
            and self.calls[norm] == self.calls[self.returned[id(x)][0]] == 1
            and _fit(self.returned[id(x)][0], norm, x)
        ]


def _pairs(module: nn.Module, example: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    seen = _Pass()
    handles = []
    layers = [layer for layer in module.modules() if type(layer) in _LAYERS and _plain(layer)]
    norms = [norm for norm in batch_norms(module) if _plain(norm) and _fixed(norm)]
    for layer in layers:
        handles.append(layer.register_forward_hook(seen.after_layer))
    for norm in norms:
        handles += [norm.register_forward_pre_hook(seen.before_norm), norm.register_forward_hook(seen.after_norm)]
    try:
        with seen:
            answers = module(example)
    finally:
        for handle in handles:
            handle.remove()
    return seen.pairs(answers)


def _plain(layer: nn.Module) -> bool:
    """Tell a layer that is its weights alone: no hooks that see or change what passes, nothing that makes weights."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any(getattr(layer, name) for name in hooks) and layer._parameters.keys() == {"weight", "bias"}


def _fixed(norm: nn.Module) -> bool:
    """Tell a batch norm that normalises by its running statistics, not by those of the batch."""
    return not norm.training and norm.running_mean is not None and norm.running_var is not None


def _fit(layer: nn.Module, norm: nn.Module, x: Tensor) -> bool:
    """Tell that the batch norm's channels are the layer's outputs: unbatched and sequence inputs shift them."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return x.dim() == weight.dim() and x.shape[1] == len(weight) == norm.num_features


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    old: Any = layer.weight
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = torch.ones_like(mean) if norm.weight is None else norm.weight.double()
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias.double()
    before = torch.zeros_like(mean) if layer.bias is None else layer.bias.double()
    fuse: Any = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    for name, tensor in zip(
        ("weight", "bias"), fuse(old.double(), before, mean, variance, norm.eps, scale, shift), strict=True
    ):
        setattr(layer, name, nn.Parameter(tensor.to(old.dtype), requires_grad=old.requires_grad))


def _replace(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
