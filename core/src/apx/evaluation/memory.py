"""Work in batches as large as memory allows."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import UserError

T = TypeVar("T")


def within_memory(work: Callable[[Tensor], T], rows: Tensor, size: int, device: torch.device) -> tuple[T, int]:
    """Do `work` on the first `size` of `rows`, fewer where memory runs out: the size is halved until it suffices.

    Returns:
        What `work` returned, and the size.

    Raises:
        UserError: a single row does not fit.
    """
    while True:
        try:
            return work(rows[:size]), size
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if min(size, len(rows)) == 1:
                raise UserError("out of memory with a single image: use another device or a smaller network") from error
        size = (min(size, len(rows)) + 1) // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _out_of_memory(error: Exception) -> bool:
    # the CPU's allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
