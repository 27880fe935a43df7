"""Physical removal: a network whose removed filters are gone, with the logits of the masked one.

Masks leave a structured network as big as it was. A filter can go when what it feeds is exactly zero, or when no layer
has weights for it (pruned input channels); which layers share a channel (residual additions, flattening, depthwise
convolutions) is found by torch-pruning's dependency graph (Fang et al., CVPR 2023). Whether the channel is zero is not
inferred from batch-norm parameters but seen: a filter without weights emits a constant, so the inputs of the layers
that read it, seen once, are what they always are.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from .attacks import frozen
from .cost import count_flops, count_weights, latency
from .dependency import Channels, Graph
from .errors import UserError

__all__ = ["ShrinkReport", "changed_channels", "latency", "resize", "shrink", "shrink_summary"]

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ShrinkReport:
    """The smaller network and what changed; weights are those of convolution and linear layers.

    `kept_constant_channels` counts convolution filters without weights that stay because what they emit (through
    batch norm and activation) is a constant other than zero; `kept_coupled_filters` those that stay because another
    filter, which lives, shares their channel, or because a layer must keep one.
    """

    module: nn.Module
    filters_removed: int
    weights_before: int
    weights_after: int
    flops_before: int
    flops_after: int
    kept_constant_channels: int
    kept_coupled_filters: int
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Layer name -> (outputs, inputs) of each layer that changed."""


def shrink(module: nn.Module, example_input: Tensor) -> ShrinkReport:
    """Remove the filters and neurons that emit exactly zero or that nothing reads, with all that belongs to them.

    Args:
        module: a plain network, masks folded in; it is not changed.
        example_input: images [B, C, H, W] on the module's device, to trace and to check the result.

    Raises:
        UserError: the network cannot be traced, or the smaller one would answer otherwise (more than 1e-4).
    """
    small, constant, coupled = without_dead(module, example_input)
    return ShrinkReport(
        module=small,
        filters_removed=count_filters(module) - count_filters(small),
        weights_before=count_weights(module),
        weights_after=count_weights(small),
        flops_before=count_flops(module, example_input),
        flops_after=count_flops(small, example_input),
        kept_constant_channels=constant,
        kept_coupled_filters=coupled,
        channels=changed_channels(module, small),
    )


def without_dead(module: nn.Module, example_input: Tensor) -> tuple[nn.Module, int, int]:
    """Do the work of `shrink` and count no operations, whose counter takes seconds to import.

    Returns:
        The smaller network, and how many filters without weights stay: constant ones, coupled ones.

    Raises:
        UserError: see `shrink`.
    """
    with _removing(module, example_input) as (small, graph, probe):
        _remove_all(graph, probe)
        constant, coupled = _kept(graph, probe)
    return small, constant, coupled


def without_dead_and_origins(module: nn.Module, example_input: Tensor) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the smaller network, and where each entry of its tensors was.

    Returns:
        The network, and tensor name -> flat indices (row-major) into the tensor of `module`, in the smaller shape;
        tensors without dimensions have none.

    Raises:
        UserError: see `shrink`.
    """
    with _removing(module, example_input) as (small, graph, probe):
        removed = _remove_all(graph, probe)
    places = copy.deepcopy(module)
    with _traceable(places), _refused_where_broken(module):
        twin = _trace(places, example_input[:1])
        for tensor in (*places.parameters(), *places.buffers()):  # traced before: that needs the network's own numbers
            if tensor.dim():
                tensor.data = torch.arange(tensor.numel(), dtype=torch.float64, device=tensor.device).view(tensor.shape)
        for name, channels in removed:
            twin.remove(places.get_submodule(name), channels)
    return small, {name: tensor.long() for name, tensor in places.state_dict().items() if tensor.dim()}


def shrink_summary(module: nn.Module, example_input: Tensor) -> dict[str, Any]:
    """Return how much smaller and faster a network becomes, as JSON; `refused` with the reason where it cannot.

    Seconds are medians of a pass of `example_input` before and after.
    """
    try:
        report = shrink(module, example_input)
    except UserError as error:
        return {"refused": str(error)}
    summary = {f.name: getattr(report, f.name) for f in fields(report) if f.name not in ("module", "channels")}
    before, after = latency(module, example_input), latency(report.module, example_input)
    return {**summary, "seconds_before": before, "seconds_after": after, "batch_size": len(example_input)}


def resize(module: nn.Module, channels: Mapping[str, tuple[int, int]]) -> None:
    """Give layers of `module` the sizes (outputs, inputs) of a shrunk network; their values are lost.

    Raises:
        UserError: a name is no convolution, linear or batch-norm layer of the module.
    """
    layers = dict(module.named_modules())
    for name, (outputs, inputs) in channels.items():
        layer = layers.get(name)
        if isinstance(layer, nn.modules.conv._ConvNd):
            if layer.groups > 1:  # depthwise: one filter per channel
                layer.groups = inputs
            layer.out_channels, layer.in_channels = outputs, inputs
            shape = (outputs, inputs // layer.groups, *layer.kernel_size)
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = outputs, inputs
            shape = (outputs, inputs)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.num_features = outputs
            shape = (outputs,)
        else:
            raise UserError(f"the network has no layer '{name}' to shrink: it was built for another architecture")
        _reallocate(layer, shape)


def _reallocate(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Replace a layer's tensors by empty ones: `weight` of `shape`, all others by its first dimension."""
    for name, parameter in list(layer.named_parameters(recurse=False)):
        new = parameter.new_zeros(shape if name == "weight" else shape[:1])
        setattr(layer, name, nn.Parameter(new, requires_grad=parameter.requires_grad))
    for name, buffer in list(layer.named_buffers(recurse=False)):
        if buffer.dim() == 1:
            setattr(layer, name, buffer.new_zeros(shape[:1]))


def changed_channels(before: nn.Module, after: nn.Module) -> dict[str, tuple[int, int]]:
    """Return layer name -> (outputs, inputs) for the conv, linear and batch-norm layers whose shape differs."""
    sizes = dict(_sizes(before))
    return {name: size for name, size in _sizes(after) if sizes[name] != size}


def _sizes(module: nn.Module) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd):
            yield name, (layer.out_channels, layer.in_channels)
        elif isinstance(layer, nn.Linear):
            yield name, (layer.out_features, layer.in_features)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            yield name, (layer.num_features, layer.num_features)


def count_filters(module: nn.Module) -> int:
    """Return the number of convolution filters."""
    return sum(layer.out_channels for layer in module.modules() if isinstance(layer, nn.modules.conv._ConvNd))


def _probe(example: Tensor) -> Tensor:
    """Return the example's first images beside as many of uniform noise, always the same."""
    images = example[:2].float()
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(images.shape, generator=generator).to(images.device)
    return torch.cat([images, noise])


@contextmanager
def _traceable(module: nn.Module) -> Iterator[None]:
    """Let every parameter have a gradient inside, since the graph is read off autograd's; modes are restored."""
    wanted = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        module.requires_grad_(True)
        yield
    finally:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(wanted[name])
            parameter.grad = None
        for part, training in modes:
            part.training = training


@contextmanager
def _removing(module: nn.Module, example: Tensor) -> Iterator[tuple[nn.Module, Graph, Tensor]]:
    """Yield a copy to cut, its graph, and the probe under which it must answer as `module` does in the end."""
    small = copy.deepcopy(module)
    probe = _probe(example)
    answers = _answers(module, probe)
    with _traceable(small):
        graph = _trace(small, example[:1])
        with _refused_where_broken(module):
            yield small, graph, probe
            _check_same(module, answers, _answers(small, probe))


def _trace(module: nn.Module, example: Tensor) -> Graph:
    try:
        return Graph(module, example)
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, AssertionError) as error:
        raise UserError(f"cannot shrink {type(module).__name__}: its layers cannot be traced ({error})") from error


@contextmanager
def _refused_where_broken(module: nn.Module) -> Iterator[None]:
    """Turn the failure of a network from which the wrong channels were cut into a sentence."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError) as error:
        raise UserError(
            f"cannot shrink {type(module).__name__}: its layers share channels in a way that is not understood"
        ) from error


def _remove_all(graph: Graph, probe: Tensor) -> list[tuple[str, list[int]]]:
    """Remove what can go, and return what was removed in turn: layers by name, their channels as they then were."""
    removed = []
    for layer in graph.roots():
        removable = [channel.index for channel in graph.zero_channels(layer, probe) if channel.removable]
        if len(removable) == graph.width(layer):
            removable = removable[1:]  # a layer without outputs is no layer
        if removable:
            removed.append((graph.name(layer), removable))
            graph.remove(layer, removable)
    return removed


def _kept(graph: Graph, probe: Tensor) -> tuple[int, int]:
    """Count the convolution filters without weights that stayed: (constant, coupled)."""
    channels: list[Channels] = []
    for layer in graph.roots():
        if isinstance(layer, nn.modules.conv._ConvNd):
            channels += graph.zero_channels(layer, probe)
    constant = sum(channel.constant for channel in channels)
    return constant, len(channels) - constant


@torch.no_grad()
def _answers(module: nn.Module, probe: Tensor) -> Tensor:
    with frozen(module), _exact():
        return module(probe)


@contextmanager
def _exact() -> Iterator[None]:
    """Compute in whole float32 on a GPU too, where convolutions round to TF32 by default: that moves logits more."""
    kinds: tuple[Any, Any] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = False
        yield
    finally:
        for kind, allowed in zip(kinds, before, strict=True):
            kind.allow_tf32 = allowed


def _check_same(module: nn.Module, before: Tensor, after: Tensor) -> None:
    difference = float((before - after).abs().max())
    if not difference <= _TOLERANCE * max(1.0, float(before.abs().max())):
        raise UserError(
            f"cannot shrink {type(module).__name__} exactly: logits would move by {difference:.2g}; use it masked"
        )
