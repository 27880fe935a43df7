"""SIGKILL at random moments, and while a checkpoint is being written: the resumed run ends with the same bits.

The fast suite kills once, the slow one ten times per method, over all phases.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TINY = {"epochs": "2", "batch_size": "100", "steps": "1"}
PHASES = {"hydra": ("pretrain", "prune", "finetune"), "twinrep": ("pretrain", "train")}


def command(method: str, *more: str) -> list[str]:
    settings = [f"{phase}.{key}={value}" for phase in PHASES[method] for key, value in TINY.items()]
    options = ["--arch", "cnn-small", "--width", "4", "--eval", "none", "--device", "cpu", *more]
    return [sys.executable, "-m", "apx_cli", "run", method, *options, *(f"--set={s}" for s in settings)]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "APX_HOME": str(home), "OMP_NUM_THREADS": "1"}


def complete(arguments: list[str], home: Path) -> None:
    done = subprocess.run(arguments, env=environment(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def results(directory: Path) -> dict[str, torch.Tensor]:
    masks = load_file(directory / "masks.safetensors")
    return {**load_file(directory / "model.safetensors"), **{f"mask {n}": m for n, m in masks.items()}}


def assert_same(a: Path, b: Path) -> None:
    first, second = results(a), results(b)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def kill_when(arguments: list[str], home: Path, ready: "Watch") -> bool:
    """Start a run and kill it when `ready` says so; return whether it was still running then."""
    process = subprocess.Popen(arguments, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not ready():
        time.sleep(0.001)
    alive = process.poll() is None
    if alive:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


class Watch:
    """Ready once the run has written `files` checkpoints and a random moment has passed, or in mid-write."""

    def __init__(self, directory: Path, files: int, delay: float, *, writing: bool = False) -> None:
        self.checkpoints, self.files, self.delay, self.writing = directory / "checkpoints", files, delay, writing
        self.seen: set[tuple[str, int]] = set()
        self.since = 0.0

    def __call__(self) -> bool:
        try:
            with os.scandir(self.checkpoints) as entries:
                found = [(entry.name, entry.stat().st_mtime_ns) for entry in entries]
        except FileNotFoundError:  # not made yet, or a file was renamed between the two calls
            return False
        if self.writing:
            return len(self.seen_so_far(found)) >= self.files and any(name.endswith(".tmp") for name, _ in found)
        if len(self.seen_so_far(found)) >= self.files:
            self.since = self.since or time.monotonic()
            return time.monotonic() - self.since >= self.delay
        return False

    def seen_so_far(self, found: list[tuple[str, int]]) -> set[tuple[str, int]]:
        self.seen |= {pair for pair in found if not pair[0].endswith(".tmp")}
        return self.seen


def check(method: str, kills: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    complete(command(method, "--out", str(whole)), tmp_path / "home-whole")
    draw = random.Random(0)
    killed = 0
    for attempt in range(kills):
        home, run = tmp_path / f"home-{attempt}", tmp_path / f"run-{attempt}"
        writing = attempt % 2 == 1
        # the run writes five to seven checkpoints, over all phases
        watch = Watch(run, 1 + attempt % 5, draw.uniform(0, 0.15), writing=writing)
        killed += kill_when(command(method, "--out", str(run)), home, watch)
        assert json.loads((run / "run.json").read_text())["method"] == method
        complete([sys.executable, "-m", "apx_cli", "run", "--resume", str(run)], home)
        assert_same(whole, run)
    assert killed >= kills // 2  # the others ended before their moment came


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hydra", "twinrep"])
def test_ten_kills_over_all_phases(method: str, tmp_path: Path) -> None:
    check(method, 10, tmp_path)


def test_a_kill(tmp_path: Path) -> None:
    check("hydra", 1, tmp_path)
