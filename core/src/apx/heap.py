"""What passes free on a CPU is kept for the next ones, not given back to the system and faulted in anew page by page.

By default glibc returns free memory at the heap's end, and maps and unmaps tensors above 32 MB one by one. A pass of an
attack frees and asks for hundreds of megabytes: a fifth of its time can be the system's, clearing pages.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_NEVER = -1
_LARGEST = 32 * 2**20
"""Bytes from which new memory is mapped at any rate: the largest that glibc takes, and where its own rule ends."""

_depth = 0


@contextmanager
def kept_heap() -> Iterator[None]:
    """Inside, this process keeps the memory that it frees; afterwards that is given back.

    Its peak is a little higher for it. Other allocators than glibc's are left as they are.
    """
    global _depth
    libc = _glibc()
    if libc is None:
        yield
        return
    _depth += 1
    libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)  # where glibc's own rule ends
            libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library where it is glibc."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):  # Windows has no confstr, other systems not this name
        return None
    return ctypes.CDLL(None) if name else None
