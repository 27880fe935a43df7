"""How time and memory of a global ranking grow with the number of scores: slope of log time over log size."""

import ctypes
import math
import time
from pathlib import Path

import pytest
import torch

from apx.selection import keep_highest

from .conftest import Compare

SIZES = (1_000_000, 10_000_000, 50_000_000, 200_000_000)


def seconds_of(count: int) -> float:
    scores = torch.rand(count, generator=torch.Generator().manual_seed(count))
    started = time.perf_counter()
    mask = keep_highest(scores, count // 10)
    taken = time.perf_counter() - started
    assert int(mask.sum()) == count // 10
    return taken


def bytes_per_score(count: int) -> float:
    """Return what the ranking needs at its peak beyond the scores, by the kernel's count (Linux)."""
    scores = torch.rand(count, generator=torch.Generator().manual_seed(count))
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    held = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    keep_highest(scores, count // 10)
    return (_status("VmHWM") - held) / count


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def slope(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Return the least-squares slope of log seconds over log size."""
    xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in seconds]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_growth_of_a_global_ranking(compare: Compare, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = SIZES if compare.timing else (1_000, 10_000)
    measured: list[float] = []

    def work() -> None:
        measured[:] = [min(seconds_of(size) for _ in range(3)) for size in sizes]

    compare.benchmark.pedantic(work, rounds=1, iterations=1)
    if compare.timing:
        lines = [f"{size:>11,} scores: {taken:8.4f} s" for size, taken in zip(sizes, measured, strict=True)]
        with capsys.disabled():
            print("\n" + "\n".join(lines))
            print(f"slope {slope(sizes, measured):.2f}, {bytes_per_score(sizes[-1]):.2f} bytes per score")
