"""A GPU repeats a network's passes from CUDA graphs, recorded once, in place of hundreds of kernels that Python starts.

The mathematics is the same. What changes is who waits: small networks, and bf16 on a fast GPU, are otherwise held back
by the CPU that starts their kernels one by one. Python inside a network's forward pass runs at the recording alone:
where it decides something anew each time, APX_CUDA_GRAPHS=0 is needed.
"""

import gc
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .architectures.normalisation import looked_into
from .fixed_norm import FixedNorms

if TYPE_CHECKING:
    from .masked_model import MaskedModel

Pass = Callable[..., Tensor]  # (images, *weights) -> logits
Record = Callable[[Pass, tuple[Tensor, ...]], Pass]

_SWITCH = "APX_CUDA_GRAPHS"
_MOST = 16  # recordings of a phase; each keeps its activations in memory


def record_cuda_graph(compute: Pass, arguments: tuple[Tensor, ...]) -> Pass:
    """Return `compute` as a CUDA graph, its backward pass likewise; `arguments` become the places it reads from.

    Raises:
        RuntimeError: the pass waits for the GPU, or does something else that cannot be recorded.
    """
    return cast(Pass, torch.cuda.make_graphed_callables(cast(Any, compute), arguments, allow_unused_input=True))


@dataclass
class _Recording:
    """A pass that may be repeated; `waiting` for its backward pass, which is the one that belongs to `uses`."""

    replay: Pass
    waiting: bool = False
    uses: int = 0
    differentiated: int = 0

    def __call__(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        logits = self.replay(*_with_own_gradients([x, *weights])).clone()  # the next repetition writes there
        if logits.requires_grad:
            self.uses += 1
            self.waiting = True
            logits.register_hook(partial(self._differentiate, self.uses))
        return logits

    def _differentiate(self, use: int, _: Tensor) -> None:
        if use != self.uses or use == self.differentiated:
            raise RuntimeError(
                "a forward pass was differentiated twice, or after the optimiser's step and a later pass: its "
                f"activations are gone; set {_SWITCH}=0 for an objective that needs this"
            )
        self.differentiated = use
        self.waiting = False


class RecordedPasses:
    """Each kind of forward pass of a module, with its backward pass, recorded at its first use.

    A kind is what decides which kernels run: shape, precision, modes, what needs a gradient, which tensors are read.
    Passes that wait for their backward pass at the same time (TRADES has three) have a recording each. Batches of
    another size than `batch_size`, as an epoch's last one, are not recorded, and neither is anything while hooks look
    into the module, since Python does not run during a repetition.

    Args:
        module: the network, whose parameters and buffers keep their places in memory.
        batch_size: images of the batches to record.
        record: makes a repeatable pass of a function and the tensors it will read.
    """

    def __init__(self, module: nn.Module, batch_size: int, record: Record = record_cuda_graph) -> None:
        self._module = module
        self._batch_size = batch_size
        self._record = record
        self._modules = list(module.modules())
        self._parameters = dict(module.named_parameters())
        self._buffers = list(module.buffers())
        self._recordings: dict[Any, list[_Recording]] = {}
        self._held: dict[str, Tensor] = {}
        self._refused = False

    def hold(self, name: str, effective: Tensor) -> Tensor:
        """Return the leaf that stands for an effective tensor: the same one each time, with the new values."""
        leaf = self._held.get(name)
        if leaf is None:
            leaf = self._held[name] = torch.empty_like(effective).requires_grad_(True)
        with torch.no_grad():
            leaf.copy_(effective)
        leaf.grad = None
        return leaf

    def release(self) -> None:
        """Let every recording be used again: after the optimiser's step no pass waits for its backward pass."""
        for recordings in self._recordings.values():
            for recording in recordings:
                recording.waiting = False

    def __call__(self, x: Tensor, effective: Mapping[str, Tensor]) -> Tensor | None:
        """Return the logits of images [B, C, H, W] by a repetition; None where this pass is to be computed as usual.

        Args:
            x: the images.
            effective: tensors that stand in for parameters of these names.
        """
        if self._refused or len(x) != self._batch_size or looked_into(self._modules):
            return None
        weights = [effective.get(name, parameter) for name, parameter in self._parameters.items()]
        recordings = self._recordings.setdefault(self._kind(x, weights), [])
        free = next((recording for recording in recordings if not recording.waiting), None)
        if free is None:
            free = self._recorded(x, weights)
            if free is None:
                return None
            recordings.append(free)
        return free(x, weights)

    def _kind(self, x: Tensor, weights: list[Tensor]) -> tuple[Any, ...]:
        differentiates = torch.is_grad_enabled()
        autocast = torch.is_autocast_enabled(x.device.type) and torch.get_autocast_dtype(x.device.type)
        return (
            x.shape, x.dtype, autocast, differentiates, differentiates and x.requires_grad,
            *(module.training for module in self._modules),
            *(differentiates and weight.requires_grad for weight in weights),
            *(tensor.data_ptr() for tensor in (*weights, *self._buffers)),
        )  # fmt: skip

    def _recorded(self, x: Tensor, weights: list[Tensor]) -> _Recording | None:
        if sum(map(len, self._recordings.values())) >= _MOST:
            return None
        names = list(self._parameters)

        def compute(images: Tensor, *tensors: Tensor) -> Tensor:
            with FixedNorms():
                return cast(Tensor, functional_call(self._module, dict(zip(names, tensors, strict=True)), (images,)))

        # leaves of their own at the same addresses: a recording then reads what the optimiser writes
        places = (x.detach().clone(), *(weight.detach() for weight in weights))
        for place, given in zip(places, (x, *weights), strict=True):
            place.requires_grad_(given.requires_grad)
        try:
            with _undisturbed(x.device, self._buffers), _without_cache(x.device), warnings.catch_warnings():
                for about in ("The AccumulateGrad node's stream", "Attempting to run cuBLAS"):  # to be expected here
                    warnings.filterwarnings("ignore", about)
                return _Recording(self._record(compute, places))
        except RuntimeError as error:
            self._refused = True
            self._recordings.clear()
            warnings.warn(
                f"{type(self._module).__name__} cannot be recorded as a CUDA graph and trains more slowly: {error}",
                stacklevel=2,
            )
            return None


def _with_own_gradients(tensors: list[Tensor]) -> list[Tensor]:
    """Return the tensors such that their gradients are copies, which no later repetition overwrites."""
    if not torch.is_grad_enabled():
        return tensors
    learn = [number for number, tensor in enumerate(tensors) if tensor.requires_grad]
    passed = list(tensors)
    if learn:
        for number, tensor in zip(learn, _OwnGradients.apply(*(tensors[number] for number in learn)), strict=True):
            passed[number] = tensor
    return passed


class _OwnGradients(torch.autograd.Function):
    """The identity, which copies the gradients that come back."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [gradient for gradient in gradients if gradient is not None]
        copies = iter(torch._foreach_mul(given, 1.0) if given else ())  # one kernel for all of them
        return tuple(None if gradient is None else next(copies) for gradient in gradients)


@contextmanager
def recorded(model: "MaskedModel", batch_size: int, device: torch.device) -> Iterator[None]:
    """Let a model record and repeat its passes inside, on a GPU and unless APX_CUDA_GRAPHS is 0."""
    if device.type == "cuda" and os.environ.get(_SWITCH, "1") != "0":
        model.recorded = RecordedPasses(model.module, batch_size)
    try:
        yield
    finally:
        if model.recorded is not None:
            model.recorded = None
            gc.collect()  # a recording is part of a cycle in some versions of PyTorch, and holds a phase's activations


@contextmanager
def _undisturbed(device: torch.device, buffers: list[Tensor]) -> Iterator[None]:
    """Recording makes passes of its own: random numbers and running statistics are afterwards what they were."""
    before = [buffer.clone() for buffer in buffers]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    for buffer, value in zip(buffers, before, strict=True):
        buffer.data.copy_(value)  # as batch norm moves them: unnoticed by plain passes that wait for their backward


def _without_cache(device: torch.device) -> torch.autocast:
    """Return the autocast context in force, but with casts of the weights inside each pass."""
    return torch.autocast(
        device.type,
        dtype=torch.get_autocast_dtype(device.type),
        enabled=torch.is_autocast_enabled(device.type),
        cache_enabled=False,
    )
