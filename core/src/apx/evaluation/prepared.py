"""A network prepared once for attack: the same function, cheaper to call and to differentiate.

Thousands of passes go through the network of an attack and none changes it, so what does not depend on the images is
done beforehand. Every step is checked against the network as it was, and what fails the check is left out and named.
Rounding remains: a verdict is to be read off the network that was given.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..cost import count_weights
from ..errors import UserError
from ..folding import batch_norms, fold_batch_norms
from ..masked_model import MaskedModel
from ..masks import PRUNABLE
from ..memory_format import set_memory_format
from ..shrinking import count_filters, without_dead
from .network import device_of

_TOLERANCE = 1e-4  # of the largest logit
_PRECISIONS = ("fp32", "bf16")

# what running, tracing or copying a stranger's network may raise; it is then used as it is, and the step says so
_FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError)


@dataclass(frozen=True)
class Prepared:
    """A network for attacks, apart from the given one, and what was done to it or refused, step by step."""

    module: nn.Module
    steps: tuple[str, ...]


def prepare(
    module: nn.Module, example: Tensor, *, precision: str = "fp32", device: torch.device | str | None = None
) -> Prepared:
    """Return a copy of `module` that answers alike up to rounding, made for being attacked.

    The copy is in eval mode, its parameters need no gradient; filters that emit nothing are removed (`apx.shrink`),
    batch norms are folded into the layers before them, weights lie channels-last. It is made and checked on the CPU, in
    float32, where no convolution rounds to TF32. Where the network cannot be copied it is returned itself, as it is.
    The global random state is not touched.

    Args:
        module: maps images [B, C, H, W] in [0, 1] to logits [B, classes]; it is not changed.
        example: some images, float [B, C, H, W] in [0, 1].
        precision: `fp32`, or `bf16` for passes under autocast with logits in float32: faster on GPUs, and rougher.
        device: where the copy goes; where the module is, if None.

    Raises:
        UserError: an unknown precision.
    """
    if precision not in _PRECISIONS:
        raise UserError(f"unknown precision '{precision}': choose {' or '.join(_PRECISIONS)}")
    where = device_of(module) if device is None else torch.device(device)
    try:
        network = _copied(module)
    except _FAILURES as error:
        return Prepared(module, (f"not prepared: {type(module).__name__} cannot be copied ({_line(error)})",))
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        network, steps = _rebuilt(network, _probe(example))
        network = set_memory_format(network.to(where), torch.channels_last)
        steps = ["frozen", *steps, "channels-last"]
        if precision == "bf16":
            network, step = _in_bf16(network, _probe(example).to(where))
            steps.append(step)
    return Prepared(network, tuple(steps))


def _copied(module: nn.Module) -> nn.Module:
    """Return a copy on the CPU with masks folded in, in eval mode and frozen."""
    if isinstance(module, MaskedModel):
        plain = copy.deepcopy(module.module).cpu()
        plain.load_state_dict(module.folded_state())
    else:
        plain = copy.deepcopy(module).cpu()
    return plain.eval().requires_grad_(False)


def _rebuilt(network: nn.Module, probe: Tensor) -> tuple[nn.Module, list[str]]:
    """Return the network without what is dead and without the batch norms that fold, and what was done."""
    try:
        answers = _answers(network, probe)
    except _FAILURES as error:
        name = type(network).__name__
        return network, [f"neither shrunk nor folded: {name} does not run on the CPU ({_line(error)})"]
    steps = []
    for refusal, change in (("no filters removed", _without_dead), ("batch norms not folded", _with_folded)):
        try:
            changed, step = change(network, probe)
            moved = _moved(answers, _answers(changed, probe))
        except UserError as error:
            steps.append(f"{refusal}: {error}")
        except _FAILURES as error:
            steps.append(f"{refusal}: {_line(error)}")
        else:
            if moved <= _TOLERANCE:
                network = changed
                steps += [step] if step else []
            else:
                steps.append(f"{refusal}: logits would move by {moved:.1e} of the largest")
    return network, steps


def _without_dead(network: nn.Module, probe: Tensor) -> tuple[nn.Module, str]:
    if not any(_is_partly_dead(layer) for layer in network.modules()):
        return network, ""
    small, constant, coupled = without_dead(network, probe)
    kept, share = constant + coupled, 1 - count_weights(small) / count_weights(network)
    step = f"removed {count_filters(network) - count_filters(small)} filters, {share:.1%} of the weights"
    return small, step + (f" ({kept} empty filters stay: constant or shared)" if kept else "")


def _is_partly_dead(layer: nn.Module) -> bool:
    """Tell a layer with a filter, neuron or input channel that has no weights."""
    if not isinstance(layer, PRUNABLE):
        return False
    weight: Any = layer.weight
    return any(bool((rows.flatten(1) == 0).all(dim=1).any()) for rows in (weight, weight.transpose(0, 1)))


def _with_folded(network: nn.Module, probe: Tensor) -> tuple[nn.Module, str]:
    before = len(batch_norms(network))
    folded = copy.deepcopy(network)
    count = fold_batch_norms(folded, probe) if before else 0
    left = f" ({before - count} follow no layer of their own and stay)" if before > count else ""
    return folded, f"folded {count} batch norms{left}" if before else ""


class _Autocast(nn.Module):
    """Runs a network under bf16 autocast; its logits are float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images [B, C, H, W], float32 [B, classes]."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            logits: Tensor = self.network(x)
        return logits.float()


def _in_bf16(network: nn.Module, probe: Tensor) -> tuple[nn.Module, str]:
    wrapped = _Autocast(network).eval()
    try:
        finite = bool(torch.isfinite(_answers(wrapped, probe)).all())
    except _FAILURES as error:
        return network, f"float32, not bf16: {_line(error)}"
    return (wrapped, "bf16") if finite else (network, "float32, not bf16: its logits would not be finite")


def _probe(example: Tensor) -> Tensor:
    """Return the example's first images beside as many of uniform noise, always the same, on the CPU."""
    images = example[:4].detach().float().cpu()
    return torch.cat([images, torch.rand(images.shape, generator=torch.Generator().manual_seed(0))])


@torch.no_grad()
def _answers(network: nn.Module, probe: Tensor) -> Tensor:
    return network(probe)


def _moved(before: Tensor, after: Tensor) -> float:
    """Return the largest change of a logit, in parts of the largest logit."""
    return float((before - after).abs().max() / before.abs().max().clamp_min(torch.finfo(torch.float32).tiny))


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
