"""The network as the attacks see it: images in, finite logits out, every pass counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..attacks import frozen
from ..errors import UserError


class Logits(nn.Module):
    """Wraps a network so that attacks get float logits [B, classes] and progress hears of each pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.on_pass: Callable[[int], None] = lambda images: None

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images [B, C, H, W], in float32 and free to be written to (Square does)."""
        logits = self.network(x)
        self.on_pass(len(x))
        return logits.float() if logits.dtype != torch.float32 else logits.clone()


def device_of(module: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer, the CPU where there is none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


@contextmanager
def ready_for_attack(module: nn.Module, device: torch.device) -> Iterator[Logits]:
    """Put `module` on `device`, in eval mode with frozen parameters; all three are as before on exit.

    The global random state is restored as well, since the attacks of AutoAttack seed it.
    """
    home = device_of(module)
    devices = [device] if device.type == "cuda" else []
    module.to(device)
    try:
        with frozen(module), torch.random.fork_rng(devices=devices):
            yield Logits(module).eval()  # the wrapper too: attacks read its mode, to restore it
    finally:
        module.to(home)


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Refuse outputs that no attack can work with.

    Raises:
        UserError: not a matrix [B, classes], not finite, or fewer classes than the labels name.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"the model returned {shape}, it must return logits of shape [batch, classes]")
    check_finite(logits)
    if int(labels.max()) >= logits.shape[1]:
        raise UserError(
            f"label {int(labels.max())} does not fit a model with {logits.shape[1]} classes (0 to "
            f"{logits.shape[1] - 1})"
        )


def check_finite(logits: Tensor) -> None:
    """Refuse logits that compare with nothing.

    Raises:
        UserError: some are NaN or infinite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise UserError("the model returned NaN or infinite logits: its weights or normalisation are broken")
