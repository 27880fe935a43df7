"""Where a network is looked into: the first convolution, the output of every block, the logits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

LOGITS = "logits"
"""The name of the last tap, the network's own output."""

_STARTS = (nn.modules.conv._ConvNd, nn.Linear)
_IDLE = (nn.Identity, nn.Flatten, nn.modules.dropout._DropoutNd)  # in eval mode they hand on what they get


def taps(module: nn.Module) -> dict[str, nn.Module]:
    """Return the modules whose outputs are looked at, by name in definition order; the logits are not among them.

    A block is a module with inner modules, such as a residual block; containers (`Sequential`, a stage that holds one
    of blocks, a wrapper round the whole network) are opened. Layers that stand by themselves form a block from one
    convolution or linear layer up to the next (convolution, batch norm, ReLU, pool), whose output is that of its last
    layer.
    """
    found: dict[str, nn.Module] = {}
    group: tuple[str, nn.Module] | None = None
    stem = first_convolution(module)
    for name, layer in _opened(module, "", _layers(module)):
        composite = _has_children(layer)
        if group is not None and (composite or isinstance(layer, _STARTS)):
            found[group[0]] = group[1]
        group = None if composite else (name, layer)
        if composite or (stem is not None and layer is stem[1]):
            found[name] = layer
    if group is not None:
        found[group[0]] = group[1]
    return found


def first_convolution(module: nn.Module) -> tuple[str, nn.Module] | None:
    """Return the first convolution's name and module, None where there is none."""
    return next(((n, m) for n, m in module.named_modules() if isinstance(m, nn.modules.conv._ConvNd)), None)


@contextmanager
def recording(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside, each pass leaves the tapped outputs, detached copies, in the dictionary, in the order they arise.

    A module that runs several times in a pass leaves its later outputs under `name#2` and so on. The logits come
    last; a block whose output they are is not listed beside them. Outputs that are no single tensor are left out.
    """
    maps: dict[str, Tensor] = {}
    watched = taps(module)
    stem = first_convolution(module)
    if stem is not None and stem[1] not in watched.values():  # inside a block
        watched = {stem[0]: stem[1], **watched}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            number = 1 + sum(known == name or known.startswith(f"{name}#") for known in maps)
            maps[name if number == 1 else f"{name}#{number}"] = output.detach().clone()  # in-place layers may follow

    def finish(output: object) -> None:
        last = next(reversed(maps), None)
        if last is not None and isinstance(output, Tensor) and torch.equal(maps[last], output):
            del maps[last]
        keep(LOGITS, output)

    handles: list[RemovableHandle] = [module.register_forward_pre_hook(lambda *_: maps.clear())]
    for name, layer in watched.items():
        handles.append(layer.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output)))
    handles.append(module.register_forward_hook(lambda _m, _i, output: finish(output)))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def rounded(module: nn.Module, decimals: int) -> Iterator[None]:
    """Inside, every tapped output and the logits are rounded to `decimals` decimals: a crude activation quantisation.

    Rounding has no gradient, so attacks that take one are crafted outside.
    """
    handles = [
        layer.register_forward_hook(lambda _m, _i, output: _round(output, decimals))
        for layer in (*taps(module).values(), module)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _round(output: object, decimals: int) -> object:
    return torch.round(output, decimals=decimals) if isinstance(output, Tensor) else output


def _opened(module: nn.Module, path: str, layers: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield the blocks and single layers inside `module`, containers opened, with their names.

    `layers` is the number of convolution and linear layers in the whole network.
    """
    for name, child in module.named_children():
        full = f"{path}.{name}" if path else name
        if isinstance(child, _IDLE):
            continue
        if _is_container(child) or _layers(child) == layers > 1:  # what holds every layer is a wrapper
            yield from _opened(child, full, layers)
        else:
            yield full, child


def _is_container(module: nn.Module) -> bool:
    """Say whether a module only holds others: a `Sequential`, or a stage that has one of blocks inside."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return True
    children = list(module.children())
    return len(children) == 1 and isinstance(children[0], nn.Sequential) and all(map(_has_children, children[0]))


def _has_children(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _layers(module: nn.Module) -> int:
    return sum(isinstance(layer, _STARTS) for layer in module.modules())
