"""What torchao makes of a network: batch norm folded, ranges calibrated, weights rounded to integers.

Its flow for exported programs, in the order of its documentation: export, prepare, calibrate, convert. It is imported
with this module, hence late.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter, getitem
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationSpec, Quantizer, annotate_input_qspec_map

from ..errors import UserError
from ..masks import prunable_layers
from .simulation import INPUT_RANGE, Integers

_aten = torch.ops.aten
_CONVOLUTIONS = [
    overload
    for operation in (_aten.conv1d, _aten.conv2d, _aten.conv3d)
    for overload in (operation.default, operation.padding)
]
_LAYERS = (*_CONVOLUTIONS, _aten.linear.default)
_RUNNING_MEAN = 3  # its place among the arguments of aten.batch_norm

_WEIGHT = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,  # symmetric, so that a weight and its negative are equally far from their integers
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver,
)
# the whole range seen, not a tighter one: what is clipped has no gradient, which would flatter a defence
_INPUT = QuantizationSpec(
    dtype=torch.uint8,
    quant_min=INPUT_RANGE[0],
    quant_max=INPUT_RANGE[1],
    qscheme=torch.per_tensor_affine,
    observer_or_fake_quant_ctr=MinMaxObserver,
)


@dataclass(frozen=True)
class Program:
    """The converted program, which maps images to logits, what its layers compute with, and which norms are folded."""

    module: nn.Module
    layers: dict[str, Integers]
    folded: tuple[str, ...]


class _EveryLayer(Quantizer):
    """Asks for 8 bits at the weight and at the input of every convolution and linear layer."""

    def annotate(self, model: GraphModule) -> GraphModule:
        for node in _layer_nodes(model.graph):
            annotate_input_qspec_map(node, node.args[0], _INPUT)
            annotate_input_qspec_map(node, node.args[1], _WEIGHT)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to refuse: `_names` has looked at the layers."""


@torch.no_grad()
def convert(module: nn.Module, batches: Iterable[Tensor], example: Tensor) -> Program:
    """Calibrate and convert a network.

    Args:
        module: a plain network in eval mode on the CPU; torchao folds and rounds a copy.
        batches: images to calibrate with.
        example: at least one image, [B, C, H, W], to export the network with.

    Raises:
        UserError: the network cannot be exported, a layer's weight is not simply its own, a layer is called more than
            once or never, or folding its batch norms changes its logits.
    """
    exported = _export(module, example)
    names = _names(exported, module)
    folded = _settle_norms(exported.graph)
    exported.recompile()
    prepared = prepare_pt2e(exported, _EveryLayer())
    for batch in batches:
        _check_folded(module, module(batch), prepared(batch))
    converted = convert_pt2e(prepared)
    layers = {names[node.name]: _read(converted, node) for node in _layer_nodes(converted.graph)}
    return Program(converted, {name: layers[name] for name in prunable_layers(module)}, folded)


def _export(module: nn.Module, example: Tensor) -> GraphModule:
    pair = torch.cat([example[:1], example[:1]])  # a batch of one would be taken for a constant
    dynamic = ({0: torch.export.Dim("batch")},)
    try:
        exported: Any = torch.export.export(module, (pair,), dynamic_shapes=dynamic).module()
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, AssertionError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"cannot quantise {type(module).__name__}: torch.export refuses it ({reason[0]})") from error
    return exported


def _layer_nodes(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes if node.op == "call_function" and node.target in _LAYERS)


def _names(exported: GraphModule, module: nn.Module) -> dict[str, str]:
    """Return node name -> layer name, for every convolution and linear layer of `module` once."""
    layers = prunable_layers(module)
    if not layers:
        raise UserError(f"{type(module).__name__} has no convolution or linear layer to quantise")
    names: dict[str, str] = {}
    for node in _layer_nodes(exported.graph):
        weight = node.args[1]
        name = str(weight.target).removesuffix("weight").removesuffix(".") if isinstance(weight, Node) else ""
        if not isinstance(weight, Node) or weight.op != "get_attr" or name not in layers:
            raise UserError(
                f"cannot quantise {type(module).__name__}: it computes a weight on the way ({node.name}); "
                "export it with its masks folded in first"
            )
        names[node.name] = name
    for name in layers:
        times = list(names.values()).count(name)
        if times != 1:
            raise UserError(
                f"cannot quantise {type(module).__name__}: its layer '{name}' is used {times} times, not once"
            )
    return names


def _settle_norms(graph: Graph) -> tuple[str, ...]:
    """Return the names of the batch norms that torchao will fold, and hide all others from it.

    It folds a norm into any layer that feeds it, also where something else reads that layer too (the stem of a
    pre-activation network) and would then see normalised values; and as long as one norm is left, its conversion
    traces training patterns for a minute. The operation that takes the others' place computes the same.
    """
    folded = []
    for node in list(graph.nodes):
        if node.target is not _aten.batch_norm.default:
            continue
        source, mean = node.args[0], node.args[_RUNNING_MEAN]
        if _foldable(source) and isinstance(mean, Node):
            folded.append(str(mean.target).removesuffix("running_mean").removesuffix("."))
            continue
        with graph.inserting_after(node):
            hidden = graph.call_function(_aten.native_batch_norm.default, node.args[:8])
        with graph.inserting_after(hidden):
            node.replace_all_uses_with(graph.call_function(getitem, (hidden, 0)))
        graph.erase_node(node)
    return tuple(folded)


def _foldable(source: Any) -> bool:
    """Say whether a norm of what `source` returns is a factor and a shift of that layer's channels, and no more."""
    if not isinstance(source, Node) or source.target not in _LAYERS or len(source.users) > 1:
        return False
    return source.target is not _aten.linear.default or source.meta["val"].dim() == 2


def _check_folded(module: nn.Module, logits: Tensor, folded: Tensor) -> None:
    difference = float((logits - folded).abs().max())
    if not difference <= 1e-3 * max(1.0, float(logits.abs().max())):
        raise UserError(
            f"cannot quantise {type(module).__name__}: folding its batch norms would move its logits by "
            f"{difference:.2g} before anything is rounded"
        )


def _read(converted: GraphModule, node: Node) -> Integers:
    """Return what a converted layer computes with; its arguments are torchao's dequantisations."""
    x, weight, *rest = node.args
    bias = rest[0] if rest else None
    if not isinstance(x, Node) or not isinstance(weight, Node):
        raise TypeError(f"torchao left {node.name} with constant arguments")
    _, scale, zero_point, *_ = x.args
    integers, weight_scale, *_ = (_value(converted, argument) for argument in weight.args[:2])
    return Integers(
        weight=integers.detach().clone(),
        weight_scale=weight_scale.detach().float().clone(),
        bias=_value(converted, bias).detach().clone() if bias is not None else None,
        input_scale=float(scale),  # type: ignore[arg-type] # numbers in the graph
        input_zero_point=int(zero_point),  # type: ignore[arg-type]
    )


def _value(converted: GraphModule, node: Any) -> Tensor:
    tensor: Tensor = attrgetter(node.target)(converted)
    return tensor
