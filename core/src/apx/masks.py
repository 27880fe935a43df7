"""Binary masks over named tensors, what may be pruned, and the one definition of reported sparsity."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from .errors import UserError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PRUNABLE = (*_CONVOLUTIONS, nn.Linear)
_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Masks(Mapping[str, Tensor]):
    """Canonical tensor name -> bool mask of the tensor's shape; True keeps an entry.

    Besides weights, structured masks hold the conv biases and batch-norm tensors (gamma, beta, running mean) of
    removed filters, so that such a filter emits exactly zero.

    Raises:
        TypeError: a mask is not of dtype bool.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for name, mask in self.tensors.items():
            if mask.dtype != torch.bool:
                raise TypeError(f"the mask of {name} has dtype {mask.dtype}, it must be torch.bool")
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __reduce__(self) -> tuple:
        return Masks, (dict(self.tensors),)  # a mapping proxy can be neither copied nor pickled

    def to(self, device: torch.device | str) -> "Masks":
        """Return the masks on `device`."""
        return Masks({name: mask.to(device) for name, mask in self.tensors.items()})

    def merged(self, other: Mapping[str, Tensor]) -> "Masks":
        """Return these masks with those of `other` added or put in their place."""
        return Masks({**self.tensors, **other})

    def digest(self) -> str:
        """Return a SHA-256 over names, shapes and bits: equal digests mean equal masks."""
        sha = hashlib.sha256()
        for name in sorted(self.tensors):
            mask = self.tensors[name]
            sha.update(f"{name}{tuple(mask.shape)}".encode())
            sha.update(mask.to("cpu").contiguous().numpy().tobytes())
        return sha.hexdigest()


def prunable_layers(module: nn.Module, exclude: Iterable[str] = ()) -> dict[str, nn.Module]:
    """Return the convolution and linear layers of `module` by name, in definition order, without `exclude`.

    Args:
        module: the network.
        exclude: layers left dense: `stem` (the first convolution), `classifier` (the last linear layer), `linear`
            (every linear layer), `shortcut` (layers whose name contains shortcut or downsample), `pointwise` and
            `depthwise` convolutions, or a layer's own name.

    Raises:
        UserError: an excluded name is neither one of those words nor a layer.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, PRUNABLE)}
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    convolutions = {name: layer for name, layer in layers.items() if isinstance(layer, _CONVOLUTIONS)}
    groups = {
        "stem": list(convolutions)[:1],
        "classifier": linear[-1:],
        "linear": linear,
        "shortcut": [name for name in layers if "shortcut" in name.lower() or "downsample" in name],
        "pointwise": [name for name, layer in convolutions.items() if math.prod(layer.kernel_size) == 1],
        "depthwise": [name for name, layer in convolutions.items() if 1 < layer.groups == layer.in_channels],
    }
    left_out: set[str] = set()
    for word in exclude:
        if word not in groups and word not in layers:
            allowed = ", ".join([*groups, *layers])
            raise UserError(f"cannot exclude layer '{word}': choose from {allowed}")
        left_out.update(groups.get(word, [word]))
    return {name: layer for name, layer in layers.items() if name not in left_out}


def weight_names(module: nn.Module, exclude: Iterable[str] = ()) -> list[str]:
    """Return the parameter names of the prunable layers' weights, in definition order."""
    return [f"{name}.weight" if name else "weight" for name in prunable_layers(module, exclude)]


def normalisation_layers(module: nn.Module) -> list[nn.Module]:
    """Return the batch, instance, group and layer normalisations of `module`, in definition order."""
    return [layer for layer in module.modules() if isinstance(layer, _NORMALISATIONS)]


def unprunable_layers(module: nn.Module) -> list[str]:
    """Name the layers with weight matrices that no method here masks (attention projections, embeddings, ...)."""
    skip = (*PRUNABLE, *_NORMALISATIONS)
    return [
        f"{name} ({type(layer).__name__})"
        for name, layer in module.named_modules()
        if not isinstance(layer, skip) and any(parameter.dim() >= 2 for parameter in layer.parameters(recurse=False))
    ]


def count_zeros(module: nn.Module) -> tuple[int, int]:
    """Return (zeros, all) over the convolution and linear weights of `module`, stem and classifier included."""
    weights = [module.get_parameter(name) for name in weight_names(module)]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros, sum(weight.numel() for weight in weights)


def reported_sparsity(module: nn.Module) -> float:
    """Return zeros / all convolution and linear weights: the one sparsity that every table prints.

    `module` must be a plain (exported) network: hidden weights behind a mask would not count as zeros.
    """
    zeros, total = count_zeros(module)
    return zeros / total if total else 0.0
