"""A second pass over the same images that is not computed: what it returns is known, and what it leaves behind too.

TRADES as published passes its clean images twice in train mode. Both passes have the same logits, so that the gradient
through one is that through both; and batch norm's running statistics move twice towards those of the same batch.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures.normalisation import is_constant, looked_into
from ..folding import batch_norms


def pass_twice(model: nn.Module, x: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    """Return the logits of images, and what a second pass over them returns whenever it is asked for.

    In bf16 the second pass is not made where it is known: the network keeps nothing but batch norm's statistics, draws
    no random number, and no hook looks into it. Statistics are left as the pass would leave them, up to rounding. In
    float32, where steps are to equal the textbook's bit by bit, it is made.

    Args:
        model: in train mode, with a gradient to its parameters.
        x: images [B, C, H, W].
    """
    may_be_known = torch.is_autocast_enabled(x.device.type) and not looked_into(model.modules())
    norms = _only_norms(model) if may_be_known else None
    if norms is None:
        return model(x), lambda: model(x)
    drawn, statistics = _random_state(x.device), _Statistics(norms)
    logits = model(x)
    if not torch.equal(drawn, _random_state(x.device)):
        return logits, lambda: model(x)
    statistics.remember()

    def second() -> Tensor:
        statistics.move_again()
        return logits

    return logits, second


class _Statistics:
    """Running statistics r of batch norms: a pass makes them (1 - momentum) r + momentum s, s the batch's."""

    def __init__(self, norms: list[Any]) -> None:
        # by `data`, as batch norm itself moves them: unnoticed by passes that wait for their backward pass
        self._running = [buffer.data for norm in norms for buffer in (norm.running_mean, norm.running_var)]
        self._kept = [1.0 - norm.momentum for norm in norms for _ in range(2)]
        self._counts = [norm.num_batches_tracked.data for norm in norms]
        self._added = torch._foreach_mul(self._running, self._kept) if norms else ()

    def remember(self) -> None:
        """Read off what the pass has added since this was made."""
        if self._running:
            self._added = torch._foreach_sub(self._running, self._added)

    def move_again(self) -> None:
        """Move as one more pass over that batch would."""
        if self._running:
            torch._foreach_mul_(self._running, self._kept)
            torch._foreach_add_(self._running, self._added)
            torch._foreach_add_(self._counts, 1)


def _only_norms(model: nn.Module) -> list[Any] | None:
    """Return the batch norms that learn statistics; None where something else might change from pass to pass."""
    norms: list[Any] = [norm for norm in batch_norms(model) if norm.running_mean is not None]
    known = {id(buffer) for norm in norms for buffer in norm.buffers(recurse=False)}
    others = any(id(buffer) not in known and not is_constant(name) for name, buffer in model.named_buffers())
    learning = [norm for norm in norms if norm.training]
    return None if others or any(norm.momentum is None for norm in learning) else learning


def _random_state(device: torch.device) -> Tensor:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)
