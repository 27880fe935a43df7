"""The leaderboard's methods at the benchmark's sparsities on CIFAR-10 images in a folder: short runs, small networks.

The images are looked for in the folder `APX_CIFAR10` (train/CLASS/*, test/CLASS/*), of which a few are taken.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from apx import TrainSettings, build, load_method
from apx.conformance import implemented_variants
from apx.masks import reported_sparsity
from apx.method import Variant
from apx.registry import entries
from apx.runner.request import Request, build_settings
from apx.runner.start import start

SPARSITIES = {"US": (0.9, 0.95, 0.99), "S": (0.5, 0.75, 0.9)}
WIDTH = 8
GRID = [
    pytest.param(found.slug, variant, arch, sparsity, id=f"{found.slug}-{number}-{arch}-{sparsity}")
    for found in entries()
    if found.document["origin"] == "survey"
    for number, variant in enumerate(implemented_variants(found.slug))
    for arch in ("resnet18", "vgg16")
    for sparsity in SPARSITIES[variant.structure]
]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 16 training, 4 validation and 4 test images per class."""
    source = os.environ.get("APX_CIFAR10")
    if source is None:
        pytest.skip("APX_CIFAR10 names no folder with CIFAR-10's images as train/CLASS/* and test/CLASS/*")
    root = tmp_path_factory.mktemp("images")
    for split, part, chosen in (
        ("train", "train", slice(16)),
        ("val", "train", slice(16, 20)),
        ("test", "test", slice(4)),
    ):
        for folder in sorted((Path(source) / part).iterdir()):
            target = root / split / folder.name
            target.mkdir(parents=True)
            for file in sorted(folder.iterdir())[chosen]:
                (target / file.name).symlink_to(file.resolve())
    return root


def brief(slug: str, variant: Variant, dataset: str) -> dict[str, Any]:
    """Return settings of one epoch per phase, two where a method prunes inside one."""
    settings = build_settings(load_method(slug), Request(slug, dataset=dataset), variant)
    phases = [name for name in type(settings).model_fields if isinstance(getattr(settings, name), TrainSettings)]
    short = {name: 2 if name == "train" else 1 for name in phases if getattr(settings, name).epochs}
    return {f"{name}.epochs": epochs for name, epochs in short.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("slug", "variant", "arch", "sparsity"), GRID)
def test_a_run_ends_at_the_benchmarks_sparsity(
    slug: str, variant: Variant, arch: str, sparsity: float, images: Path, tmp_path: Path
) -> None:
    dataset = f"folder:{images}"
    request = Request(
        slug,
        arch=arch,
        dataset=dataset,
        width=WIDTH,
        structure=variant.structure,
        granularity=variant.granularity,
        schedule=variant.schedule,
        locality=variant.locality,
        budget=variant.budget,
        sparsity=sparsity,
        set=brief(slug, variant, dataset),
        eval="none",
    )
    start(request, out=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    network = build(arch, num_classes=10, width=WIDTH)
    network.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    assert reported_sparsity(network) == pytest.approx(report["sparsity"]["reported"], abs=1e-6)
    assert report["sparsity"]["own"] == pytest.approx(sparsity, abs=0.01 if variant.structure == "US" else 0.07)
    with torch.no_grad():
        assert bool(network.eval()(torch.rand(2, 3, 32, 32)).isfinite().all())
