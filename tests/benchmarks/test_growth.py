"""How time and memory of a global ranking grow with the number of scores: slope of log time over log size."""

import math
import statistics
import time

import pytest
import torch

from apx.selection import keep_highest

from .conftest import Compare
from .peak_memory import AVAILABLE, peak_above

SIZES = (1_000_000, 10_000_000, 50_000_000, 200_000_000)


def seconds_of(count: int) -> float:
    scores = torch.rand(count, generator=torch.Generator().manual_seed(count))
    started = time.perf_counter()
    mask = keep_highest(scores, count // 10)
    taken = time.perf_counter() - started
    assert int(mask.sum()) == count // 10
    return taken


def bytes_per_score(count: int) -> float:
    """Return what the ranking needs at its peak beyond the scores."""
    scores = torch.rand(count, generator=torch.Generator().manual_seed(count))
    return peak_above(lambda: keep_highest(scores, count // 10)) / count


@pytest.mark.skipif(not AVAILABLE, reason="peak memory is read from Linux's /proc")
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
            slope = statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, measured))).slope
            print(f"slope {slope:.2f}, {bytes_per_score(sizes[-1]):.2f} bytes per score")
