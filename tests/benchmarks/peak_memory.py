"""The process's memory as the kernel counts it (Linux, glibc), in bytes."""

import ctypes
from collections.abc import Callable
from pathlib import Path

AVAILABLE = Path("/proc/self/clear_refs").exists()


def resident() -> float:
    """Return what is in use now."""
    return _status("VmRSS")


def peak() -> float:
    """Return what was in use at most since `reset_peak`."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Let the peak start again at what is in use; what earlier work has freed is not counted as in use."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak_above(work: Callable[[], object]) -> float:
    """Return what the work needed at its peak, above what was in use before."""
    reset_peak()
    held = resident()
    work()
    return peak() - held


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
