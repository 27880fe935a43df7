"""The README's first command shows a working model (minutes; `pytest -m slow`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# floors on the bundled digits at Linf 0.15; they may only rise
DENSE_CLEAN, DENSE_ROBUST, GAP = 0.95, 0.60, 0.10


@pytest.mark.slow
def test_twinrep_on_vgg16_works(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-m", "apx_cli", "run", "twinrep", "--arch", "vgg16", "--out", "run", "--json"],
        cwd=tmp_path,
        env={**environment, "APX_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    dense, pruned = (
        (r["clean_accuracy"]["value"], r["robust_accuracy"]["value"])
        for r in (report["results"]["dense"], report["results"]["pruned"])
    )
    assert report["sparsity"]["reported"] == pytest.approx(0.9, abs=1e-4)
    assert dense[0] >= DENSE_CLEAN
    assert dense[1] >= DENSE_ROBUST
    assert pruned[0] >= dense[0] - GAP
    assert pruned[1] >= dense[1] - GAP
