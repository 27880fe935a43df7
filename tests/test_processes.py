"""Two processes under accelerate's launcher do the work of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import hashlib, json, os, sys
from pathlib import Path
import apx
from apx import Observer
from float64 import Double
from apx.runner.request import Request
from apx.runner.start import start

def network(num_classes, in_channels, image_size):
    return Double(apx.build("cnn-small", num_classes=num_classes, in_channels=in_channels, image_size=image_size))

class Digests(Observer):
    def __init__(self, out):
        self.file, self.told = out.with_name(f"{out.name}-{os.getpid()}.json"), {}

    def phase_end(self, phase, model):
        state = sorted((name, tensor.cpu().numpy().tobytes()) for name, tensor in model.state_dict().items())
        self.told[phase] = hashlib.sha256(repr(state).encode()).hexdigest()
        self.file.write_text(json.dumps(self.told))

if __name__ == "__main__":
    phases = ("pretrain", "finetune")
    tiny = {"epochs": 2, "batch_size": 400, "steps": 2, "objective": "trades"}
    tiny |= {"lr_schedule": "constant", "optimizer": "sgd", "lr": 0.05}
    settings = {f"{phase}.{key}": value for phase in phases for key, value in tiny.items()}
    out = Path(sys.argv[1])
    arch = f"py:{Path(__file__).stem}:network"
    request = Request("magnitude", arch=arch, set=settings, eval="none", device="cpu", precision="fp32")
    start(request, out=out, observers=[Digests(out)])
"""


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def launch(*program: str, processes: int, home: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable]
    if processes > 1:
        # by torchrun, with one process per "GPU"; without --multi_gpu the launcher starts a single process on a CPU
        launcher += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launcher += ["--main_process_port", str(free_port()), "--num_cpu_threads_per_process", "1"]
    done = subprocess.run(
        [*launcher, *program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "APX_HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def run(script: Path, out: Path, processes: int) -> dict[str, torch.Tensor]:
    launch(str(script), str(out), processes=processes, home=out.with_name(f"{out.name}-home"))
    assert json.loads((out / "report.json").read_text())["apx_report"] == 1
    return load_file(out / "model.safetensors")


@pytest.mark.slow
def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    script = tmp_path / "two_processes.py"
    script.write_text(SCRIPT)
    one = run(script, tmp_path / "one", 1)
    two = run(script, tmp_path / "two", 2)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)  # no batch norm here
    for name, tensor in one.items():  # the same up to the order of sums
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
        assert torch.equal(two[name] == 0, tensor == 0)
    first, second = (json.loads(file.read_text()) for file in tmp_path.glob("two-*.json"))
    assert first == second  # masks and parameters to the last bit, after each phase
    assert {"pretrain", "prune", "finetune"} <= set(first)


def losses(directory: Path) -> list[float]:
    """Return the mean loss of each epoch, as the one process that writes has logged it."""
    found = [json.loads(line)["loss"] for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert len(found) == 4
    return found


@pytest.mark.slow
def test_one_of_two_processes_speaks(tmp_path: Path) -> None:
    short = ["--arch", "cnn-small", "--width", "4", "--eval", "none", "--device", "cpu"]
    for phase in ("pretrain", "finetune"):
        short += ["--set", f"{phase}.epochs=1", "--set", f"{phase}.batch_size=400", "--set", f"{phase}.steps=1"]
    apx = ("-m", "apx_cli", "run", "magnitude", *short)
    done = launch(*apx, "--out", str(tmp_path / "run"), processes=2, home=tmp_path / "home")
    told = [line for line in done.stderr.splitlines() if line.endswith(" steps")]
    assert told == ["pretrain/train: 3 steps", "finetune: 3 steps"]
    assert done.stdout.count("run directory:") == 1
    planned = launch(*apx, "--dry-run", processes=2, home=tmp_path / "home")
    assert planned.stdout.count("nothing was written") == 1
