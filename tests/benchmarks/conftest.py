"""Comparisons for pytest-benchmark: what is timed, a named baseline before each round, their ratio at the end.

Machines are noisy: absolute seconds of two moments say little. So the baseline runs in the setup of each round, and a
ratio is that of the two medians of one interleaved measurement.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
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
    unit: str = "s"

    def __str__(self) -> str:
        times = self.theirs / self.ours
        spread = f"[{self.lowest:.2f}, {self.highest:.2f}]"
        seen = f"{self.ours:.4f} {self.unit}, {self.theirs:.4f} {self.unit} for {self.baseline}"
        return f"{self.what:<66} {times:6.2f}x {spread:<15} {seen}"


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
        return self._keep(what, named, theirs, self.benchmark.stats.stats.data)

    def reported(
        self, what: str, ours: Callable[[], float], baseline: Callable[[], float], *, named: str, rounds: int = 5
    ) -> float | None:
        """Do the same with functions that return the seconds that count, a part of what they do."""
        theirs: list[float] = []
        own: list[float] = []

        def both() -> None:
            theirs.append(baseline())
            own.append(ours())

        if self.timing:
            both()
            theirs.clear(), own.clear()
        self.benchmark.pedantic(both, rounds=rounds if self.timing else 1, iterations=1)
        if not self.timing:
            return None
        return self._keep(what, named, theirs, own)

    def memory(self, what: str, ours: float, baseline: float, *, named: str) -> float | None:
        """Keep a ratio of bytes, measured once each: how many times less `ours` is."""
        self.benchmark.pedantic(lambda: None, rounds=1, iterations=1)
        return self._keep(what, named, [baseline / 1e9], [ours / 1e9], unit="GB") if self.timing else None

    def _keep(self, what: str, named: str, theirs: list[float], own: list[float], unit: str = "s") -> float:
        pairs = [slow / fast for slow, fast in zip(theirs, own, strict=True)]
        ratio = Ratio(what, named, statistics.median(theirs), statistics.median(own), min(pairs), max(pairs), unit)
        self.benchmark.extra_info |= {"baseline": named, "ratio": ratio.theirs / ratio.ours}
        _RATIOS.append(ratio)
        return ratio.theirs / ratio.ours


@pytest.fixture
def compare(benchmark: BenchmarkFixture) -> Iterator[Compare]:
    """Yield what times a function against a baseline, both on all cores, which tests do without."""
    compared, before = Compare(benchmark), torch.get_num_threads()
    if compared.timing:
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    yield compared
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the ratios; above 1 apx is faster."""
    if _RATIOS:
        terminalreporter.section("ratios: times faster than the baseline (median of interleaved rounds, [min, max])")
        for ratio in _RATIOS:
            terminalreporter.write_line(str(ratio))
