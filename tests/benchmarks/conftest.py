"""Comparisons for pytest-benchmark: what is timed, a named baseline before each round, their ratio at the end.

Machines are noisy: absolute seconds of two moments say little. So the baseline runs in the setup of each round, and a
ratio is that of the two medians of one interleaved measurement.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """One line of the table at the end: seconds are medians."""

    what: str
    baseline: str
    theirs: float
    ours: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        times = self.theirs / self.ours
        spread = f"[{self.lowest:.2f}, {self.highest:.2f}]"
        return (
            f"{self.what:<58} {times:6.2f}x {spread:<15} {self.ours:9.4f} s, {self.theirs:9.4f} s for {self.baseline}"
        )


_RATIOS: list[Ratio] = []


@dataclass(frozen=True)
class Compare:
    """Times a function against a baseline, interleaved; where benchmarks are off both run once, untimed."""

    benchmark: BenchmarkFixture

    @property
    def timing(self) -> bool:
        """Whether times are taken; without it work should be tiny."""
        return not self.benchmark.disabled

    def __call__(self, what: str, ours: Work, baseline: Work, *, named: str, rounds: int = 5) -> float | None:
        """Return how many times faster `ours` is than `baseline` (medians); None where nothing is timed.

        Args:
            what: the first column of the table.
            ours: what apx does.
            baseline: what it is compared with.
            named: what that is.
            rounds: pairs of measurements, after one of each that does not count.
        """
        theirs: list[float] = []

        def before() -> None:
            started = time.perf_counter()
            baseline()
            theirs.append(time.perf_counter() - started)

        if self.timing:
            baseline()
            ours()
        self.benchmark.pedantic(ours, setup=before, rounds=rounds if self.timing else 1, iterations=1)
        if not self.timing:
            return None
        assert self.benchmark.stats is not None
        own = self.benchmark.stats.stats.data
        pairs = [slow / fast for slow, fast in zip(theirs, own, strict=True)]
        ratio = Ratio(what, named, statistics.median(theirs), statistics.median(own), min(pairs), max(pairs))
        self.benchmark.extra_info |= {"baseline": named, "ratio": ratio.theirs / ratio.ours}
        _RATIOS.append(ratio)
        return ratio.theirs / ratio.ours


@pytest.fixture
def compare(benchmark: BenchmarkFixture) -> Compare:
    """Return what times a function against a baseline."""
    return Compare(benchmark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the ratios; above 1 apx is faster."""
    if _RATIOS:
        terminalreporter.section("ratios: times faster than the baseline (median of interleaved rounds, [min, max])")
        for ratio in _RATIOS:
            terminalreporter.write_line(str(ratio))
