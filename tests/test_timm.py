"""Unstructured methods run on timm's networks as they are; structured ones refuse what they cannot couple."""

from pathlib import Path

import pytest

from apx.errors import UserError
from apx.runner.request import Request
from apx.runner.start import start

NETWORKS = ("timm:mobilenetv3_small_100", "timm:vit_tiny_patch16_224")
PHASES = {
    "hydra": ("pretrain", "prune", "finetune"),
    "twinrep": ("pretrain", "train"),
    "robustbird": ("early_bird", "train"),
    "magnitude": ("pretrain", "finetune"),
}


def request(method: str, arch: str, **changes: str) -> Request:
    tiny = {"epochs": 2, "batch_size": 600, "steps": 1}
    settings = {f"{phase}.{key}": value for phase in PHASES[method] for key, value in tiny.items()}
    return Request(method, arch=arch, set=settings, eval="none", device="cpu", **changes)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("arch", NETWORKS)
@pytest.mark.parametrize("method", PHASES)
def test_unstructured_methods_run(method: str, arch: str, tmp_path: Path) -> None:
    report = start(request(method, arch), out=tmp_path / "run")
    assert report["sparsity"]["reported"] == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize("arch", NETWORKS)
def test_structured_variants_refuse_before_training(arch: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot couple"):
        start(request("hydra", arch, structure="S"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
