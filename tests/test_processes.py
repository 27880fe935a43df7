"""Two processes under accelerate's launcher do the work of one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import hashlib, json, sys
from pathlib import Path
from torch import nn
from apx.runner.request import Request
from apx.runner.start import start

def network(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, num_classes))

if __name__ == "__main__":
    phases = ("pretrain", "finetune")
    tiny = {"epochs": 1, "batch_size": 400, "steps": 1, "lr_schedule": "constant"}
    settings = {f"{phase}.{key}": value for phase in phases for key, value in tiny.items()}
    arch = f"py:{Path(__file__).stem}:network"
    start(Request("magnitude", arch=arch, set=settings, eval="none", device="cpu"), out=Path(sys.argv[1]))
"""


def run(script: Path, out: Path, processes: int) -> dict[str, torch.Tensor]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes)]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launcher += ["--main_process_port", "0", "--num_cpu_threads_per_process", "1"]
    environment = {"PYTHONPATH": str(script.parent), "APX_HOME": str(out.parent / "home"), "OMP_NUM_THREADS": "1"}
    import os

    done = subprocess.run(
        [*launcher, str(script), str(out)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((out / "report.json").read_text())["apx_report"] == 1
    return load_file(out / "model.safetensors")


@pytest.mark.slow
def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    script = tmp_path / "two_processes.py"
    script.write_text(SCRIPT)
    one = run(script, tmp_path / "one", 1)
    two = run(script, tmp_path / "two", 2)
    for name, tensor in one.items():  # no batch norm here: the same up to the order of sums
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
        assert torch.equal(two[name] == 0, tensor == 0)
