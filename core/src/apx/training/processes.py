"""One process or many, by accelerate's launcher: the same path for both.

Every process draws the same global batch, keyed by sample, and takes its slice; gradients are averaged, so that a step
equals that of one process on the whole batch (but for batch-norm statistics, which each process takes from its slice).
"""

from collections.abc import Iterable
from functools import cache

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn


class Processes:
    """The processes of this run; a run started without the launcher has one."""

    def __init__(self, device: torch.device) -> None:
        self._state = PartialState(cpu=device.type == "cpu")

    @property
    def count(self) -> int:
        """How many processes work on this run."""
        return self._state.num_processes

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self._state.is_main_process

    def shard(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return this process's slice of a batch; a batch smaller than the number of processes goes to all whole."""
        if self.count == 1 or len(tensors[0]) < self.count:
            return tensors
        return tuple(tensor[self._state.process_index :: self.count] for tensor in tensors)

    def weight(self, local: int, whole: int) -> float:
        """Return the factor of a local mean loss that makes the average over processes the mean over the batch."""
        if self.count == 1 or whole < self.count:
            return 1.0
        return local * self.count / whole

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over the processes, in place."""
        if self.count > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.copy_(reduce(parameter.grad, reduction="mean"))

    def average_buffers(self, module: nn.Module) -> None:
        """Average the floating-point buffers (running statistics), so that all processes hold one model."""
        if self.count > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(reduce(buffer, reduction="mean"))

    def average(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes; every process has to call it."""
        return tensor if self.count == 1 else reduce(tensor, reduction="mean")

    def average_value(self, value: float) -> float:
        """Return the mean of a number over the processes; every process has to call it."""
        return value if self.count == 1 else float(self.average(torch.tensor(value, device=self._state.device)))

    def wait(self) -> None:
        """Wait until every process is here."""
        self._state.wait_for_everyone()


@cache
def processes(device_type: str) -> Processes:
    """Return the processes that compute on a kind of device."""
    return Processes(torch.device(device_type))
