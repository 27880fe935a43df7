"""Memory that is freed inside is used again without the system; afterwards it is the system's."""

import sys
from pathlib import Path

import pytest
import torch

from apx import heap
from apx.heap import kept_heap

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or heap._glibc() is None, reason="glibc's allocator, and /proc to look into it"
)

MEGABYTES = 24
PAGES = MEGABYTES * 2**20 // resource.getpagesize()


def passes(count: int) -> None:
    for _ in range(count):
        tensors = [torch.ones(MEGABYTES * 2**20 // 4) for _ in range(4)]
        del tensors


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.fixture(autouse=True)
def _nothing_is_left_of_earlier_tests() -> None:
    with kept_heap():
        pass


def test_freed_memory_is_used_again_and_then_given_back() -> None:
    before = resident_megabytes()
    with kept_heap():
        passes(8)  # until pieces of the right sizes lie there
        started = faults()
        passes(10)
        assert faults() - started < PAGES  # of 40 PAGES that were written
        assert resident_megabytes() > before + MEGABYTES
    assert resident_megabytes() < before + MEGABYTES


def test_the_outermost_decides() -> None:
    with kept_heap():
        with kept_heap():
            passes(8)
        started = faults()
        passes(10)
        assert faults() - started < PAGES


def test_memory_is_given_back_after_an_error() -> None:
    def fails() -> None:
        with kept_heap():
            passes(1)
            raise KeyError

    before = resident_megabytes()
    with pytest.raises(KeyError):
        fails()
    assert resident_megabytes() < before + MEGABYTES


def test_other_allocators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(heap.os, "confstr", unknown)
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: pytest.fail("asked for the C library"))
    with kept_heap():
        passes(1)
