"""Which layers share a channel, and what the layers that read it see; on torch-pruning's dependency graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_Conv = nn.modules.conv._ConvNd
_BatchNorm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Channels:
    """One output channel whose filter has no weights, or which no layer has weights for.

    removable: nothing that feeds the channel has weights, and all that reads it sees zero; or nothing reads it: the
    layers behind have no weights for it.
    constant: nothing that feeds it has weights, but some reader sees a constant other than zero.
    """

    index: int
    removable: bool
    constant: bool


@dataclass(frozen=True)
class Member:
    """One layer of a group: it writes or reads its channels `indices`, which belong to the root's `origins`."""

    layer: nn.Module
    writes: bool
    indices: list[int]
    origins: list[int]


class Graph:
    """The shared channels of a network, kept up to date while channels are removed.

    Args:
        module: in eval mode, every parameter with a gradient; it is changed in place by `remove`.
        example: one image [1, C, H, W].
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        import torch_pruning

        self._module = module
        # the call is given: torch-pruning's own first tries the images unpacked, which marks layers as used twice
        self._graph = torch_pruning.DependencyGraph().build_dependency(
            module, example_inputs=example, forward_fn=lambda network, images: network(images), verbose=False
        )
        ops = torch_pruning.ops
        self._transparent = (
            ops._ElementWiseOp,
            ops._ReshapeOp,
            ops._ExpandOp,
            ops._ConcatOp,
            ops._SplitOp,
        )

    def roots(self) -> list[nn.Module]:
        """Return the layers that produce channels, in definition order."""
        known = self._graph.module2node
        return [layer for layer in self._module.modules() if _produces(layer) and layer in known]

    def name(self, layer: nn.Module) -> str:
        """Return the name of a layer in the network."""
        return next(name for name, part in self._module.named_modules() if part is layer)

    def width(self, layer: nn.Module) -> int:
        """Return the number of output channels of a root."""
        return int(layer.weight.shape[0])  # type: ignore[index]

    def zero_channels(self, layer: nn.Module, probe: Tensor) -> list[Channels]:
        """Return the channels of `layer` without weights, and the removable ones among those that nothing reads.

        `probe` [B, C, H, W] is run to see what the layers behind read.
        """
        empty = _empty_filters(layer)
        ignored = {reader: _ignored_inputs(reader) for reader in self._module.modules() if _produces(reader)}
        channels = list(range(self.width(layer))) if any(ignored.values()) else empty
        if not channels:
            return []
        group = list(self._group(layer, channels))
        seen = _largest_inputs(self._module, probe)
        if not all(self._understood(member, seen) for member in group):
            return [Channels(c, removable=False, constant=False) for c in empty]
        judged = _judged(channels, group, seen, ignored)
        return [channel for channel in judged if channel.removable or channel.index in set(empty)]

    def remove(self, layer: nn.Module, channels: list[int]) -> None:
        """Remove output channels of `layer`, and with them what is coupled, physically."""
        self._graph.get_pruning_group(layer, self._pruner(layer), channels).prune()

    def _group(self, layer: nn.Module, channels: list[int]) -> Iterator[Member]:
        """Yield what shares the output channels of `layer`, the layer itself first."""
        items: Any = self._graph.get_pruning_group(layer, self._pruner(layer), channels)
        for position in range(len(items)):
            item = items[position]
            writes = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            yield Member(item.dep.target.module, writes, list(item.idxs), list(item.root_idxs))

    def _pruner(self, layer: nn.Module) -> Any:
        return self._graph.get_pruner_of_module(layer).prune_out_channels

    def _understood(self, member: Member, seen: dict[nn.Module, list[float]]) -> bool:
        """Tell whether removing a zero channel leaves what the layer makes of the others unchanged."""
        layer = member.layer
        if _produces(layer):
            return member.writes or max(member.indices) < len(seen.get(layer, ()))
        return isinstance(layer, (*self._transparent, _BatchNorm)) or _is_depthwise(layer)


def _judged(
    channels: list[int],
    group: list[Member],
    seen: dict[nn.Module, list[float]],
    ignored: dict[nn.Module, set[int]],
) -> list[Channels]:
    alive: set[int] = set()
    reachable: set[int] = set()
    read: set[int] = set()
    nonzero: set[int] = set()
    for member in group:
        if not _produces(member.layer):
            continue  # batch norm, depthwise convolution, addition: their effect is seen by the readers
        pairs = list(zip(member.indices, member.origins, strict=True))
        if member.writes:
            empty_here = set(_empty_filters(member.layer))
            alive.update(origin for index, origin in pairs if index not in empty_here)
        else:
            reachable.update(member.origins)
            weighed = [(index, origin) for index, origin in pairs if index not in ignored[member.layer]]
            read.update(origin for _, origin in weighed)
            nonzero.update(origin for index, origin in weighed if seen[member.layer][index] != 0)
    return [
        Channels(
            index=c,
            removable=c in reachable and (c not in read or (c not in alive and c not in nonzero)),
            constant=c not in alive and c in nonzero,
        )
        for c in channels
    ]


def _produces(layer: object) -> bool:
    """Tell a layer with a weight from every input to every output channel."""
    if isinstance(layer, _Conv):
        return layer.groups == 1 and not layer.transposed
    return isinstance(layer, nn.Linear)


def _is_depthwise(layer: object) -> bool:
    return isinstance(layer, _Conv) and layer.groups == layer.in_channels == layer.out_channels


def _empty_filters(layer: nn.Module) -> list[int]:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return (weight.detach().flatten(1) == 0).all(dim=1).nonzero()[:, 0].tolist()


def _ignored_inputs(layer: nn.Module) -> set[int]:
    """Return the input channels for which a layer has no weights."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return set((weight.detach().transpose(0, 1).flatten(1) == 0).all(dim=1).nonzero()[:, 0].tolist())


@torch.no_grad()
def _largest_inputs(module: nn.Module, probe: Tensor) -> dict[nn.Module, list[float]]:
    """Return the largest absolute value that each conv and linear layer reads in each of its input channels."""
    seen: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().abs()
        x = x.transpose(0, 1) if isinstance(layer, _Conv) else x.movedim(-1, 0)
        largest = x.flatten(1).amax(dim=1)
        seen[layer] = torch.maximum(seen[layer], largest) if layer in seen else largest

    handles = [layer.register_forward_pre_hook(note) for layer in module.modules() if _produces(layer)]
    try:
        module(probe)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: largest.tolist() for layer, largest in seen.items()}
