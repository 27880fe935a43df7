"""A network and calibration images in, the same network with 8 bits out."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..masks import count_zeros
from .files import packed
from .simulation import is_quantised, put, remove_folded


@dataclass(frozen=True)
class QuantisationReport:
    """What quantising did; weights are those of convolution and linear layers, bytes those of all tensors stored.

    `folded` counts batch norms folded into layers. `logits_difference` is the largest difference between the logits
    of the simulation and those of torchao's program of integers, on the first calibration images.
    """

    layers: int
    folded: int
    calibration_images: int
    weights: int
    zeros_before: int
    zeros_after: int
    bytes_before: int
    bytes_after: int
    logits_difference: float

    @property
    def rounded_to_zero(self) -> int:
        """Weights other than zero whose integer is 0; every zero of the float32 network is one afterwards.

        They are those below half a step of their channel, or all of a channel that its batch norm multiplies by 0.
        """
        return self.zeros_after - self.zeros_before

    @property
    def sparsity(self) -> tuple[float, float]:
        """Reported sparsity before and after."""
        return self.zeros_before / self.weights, self.zeros_after / self.weights

    def document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        before, after = self.sparsity
        more = {"rounded_to_zero": self.rounded_to_zero, "sparsity_before": before, "sparsity_after": after}
        return {**asdict(self), **more}


@dataclass(frozen=True)
class Quantised:
    """A network of 8 bits.

    `module` simulates it in float32 and lets gradients through: it maps images [B, C, H, W] to logits, has the
    architecture's names, and is what is attacked and saved. `program` is torchao's, with int8 weights, on the CPU; no
    gradient passes it.
    """

    module: nn.Module
    program: nn.Module
    report: QuantisationReport


def quantise(module: nn.Module, calibration: Tensor, *, batch_size: int = 128) -> Quantised:
    """Quantise a network to 8 bits after training; weights that are exactly 0 stay exactly 0.

    Args:
        module: a plain network, masks folded in; it is not changed.
        calibration: training images, float [N, C, H, W] in [0, 1]; each layer's input range is the one seen on them.
        batch_size: images per calibration pass.

    Returns:
        The network in eval mode, on the device of `module`, with its report.

    Raises:
        UserError: unusable images, a network of 8 bits already, or one that torchao's program cannot express.
    """
    _check(module, calibration)
    with _quiet_import():
        from .program import convert
    plain = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    images = calibration.cpu()
    program = convert(plain, images.split(batch_size), images[:1])
    simulated = copy.deepcopy(plain)
    for name, integers in program.layers.items():
        put(simulated.get_submodule(name), integers)
    remove_folded(simulated, program.folded)
    _check_zeros(plain, simulated, list(program.layers))
    zeros, weights = count_zeros(plain)
    report = QuantisationReport(
        layers=len(program.layers),
        folded=len(program.folded),
        calibration_images=len(images),
        weights=weights,
        zeros_before=zeros,
        zeros_after=count_zeros(simulated)[0],
        bytes_before=sum(tensor.nbytes for tensor in plain.state_dict().values()),
        bytes_after=sum(tensor.nbytes for tensor in packed(simulated).values()),
        logits_difference=_difference(simulated, program.module, images[:batch_size]),
    )
    device = next(iter(module.parameters())).device
    return Quantised(simulated.to(device), program.module, report)


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Keep back what torch's tree utilities log about torchao's own enumerations while that is imported."""
    logger = logging.getLogger("torch.utils._pytree")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check(module: nn.Module, images: Tensor) -> None:
    if is_quantised(module):
        raise UserError(f"this {type(module).__name__} has 8 bits already: quantise the float32 network")
    if images.dim() != 4 or not images.is_floating_point() or not len(images):
        raise UserError(
            f"cannot calibrate with {images.dtype} of shape {list(images.shape)}: give float images [N, C, H, W]"
        )
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise UserError(f"the calibration images lie in [{images.min():.3g}, {images.max():.3g}], not in [0, 1]")


def _check_zeros(plain: nn.Module, simulated: nn.Module, layers: list[str]) -> None:
    """Hold the promise of the module: the mask of the quantised weights keeps nothing that was pruned."""
    for name in layers:
        before, after = (part.get_submodule(name).get_parameter("weight") for part in (plain, simulated))
        if bool((after[before == 0] != 0).any()):
            raise RuntimeError(f"quantising made zeros of layer '{name}' other than zero")


@torch.no_grad()
def _difference(simulated: nn.Module, program: nn.Module, images: Tensor) -> float:
    """Return how far the simulation's logits lie from the program's; refuse where they are two networks."""
    expected = program(images)
    difference = float((simulated(images) - expected).abs().max())
    if not difference <= 0.1 * max(1.0, float(expected.abs().max())):
        raise UserError(
            f"cannot quantise {type(simulated).__name__}: its layers do more than their types say (the logits of the "
            f"int8 program and of its simulation differ by {difference:.2g})"
        )
    return difference
