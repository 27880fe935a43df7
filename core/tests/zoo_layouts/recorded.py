"""The 45 recorded layouts, and the rule by which a tensor's numbers follow from its name and shape alone."""

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
LAYOUTS: dict[str, Any] = json.loads(gzip.decompress((HERE / "layouts.json.gz").read_bytes()))
"""Name -> {wrapper, network, tensors: name -> shape}; `orig_*` are of the methods' own code, others the benchmark's."""
SPARSITY = 0.9
STATISTICS = {"normalize.mean": (0.4914, 0.4822, 0.4465), "normalize.std": (0.2470, 0.2435, 0.2616)}


def images() -> Tensor:
    """Return four coarse images, float32 [4, 3, 32, 32] in [0, 1]: networks tell these apart better than noise."""
    coarse = np.random.RandomState(0).random_sample((4, 3, 4, 4)).astype(np.float32)
    return torch.from_numpy(np.kron(coarse, np.ones((8, 8), dtype=np.float32)))


def state_of(layout: dict[str, list[int]]) -> dict[str, Tensor]:
    """Return a state dict of these names and shapes; numpy keeps what a `RandomState` draws from a seed for good."""
    found: dict[str, Tensor] = {}
    for name, shape in layout.items():
        twin = name.replace("model.0.", "feature.").replace("model.3.", "classifier.") if name[:6] == "model." else name
        found[name] = found[twin] if twin in found else _numbers(name, shape, layout)
    return found


def _numbers(name: str, shape: list[int], layout: dict[str, list[int]]) -> Tensor:
    part, layer = name.rpartition(".")[2], name.rpartition(".")[0]
    if part == "num_batches_tracked":
        return torch.tensor(7)
    if name in STATISTICS:
        return torch.tensor(STATISTICS[name]).view(shape)
    drawn = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    uniform = torch.from_numpy(np.asarray(drawn, dtype=np.float32))
    if part in ("mask", "weight_mask"):
        return (uniform < 0.5).float()
    if part in ("popup_scores", "scores"):  # none alike: which of equals goes is up to the sorting
        places = np.random.RandomState(zlib.crc32(name.encode())).permutation(uniform.numel()) + 1
        return torch.from_numpy((places / uniform.numel()).astype(np.float32)).view(shape) * (uniform - 0.5).sign()
    if part in ("running_mean", "bias"):
        return uniform - 0.5
    if part == "k_score":
        return uniform * 4 - 2
    if part in ("mask_weight", "mask_bias"):
        return uniform * 2 - 1
    if part == "running_var" or (part == "weight" and f"{layer}.running_var" in layout):
        return uniform + 0.5
    if part == "aux_weight" and shape == layout[f"{layer}.weight"]:
        return uniform + 0.5
    kept = 0.5 if {f"{layer}.mask", f"{layer}.weight_mask"} & layout.keys() else 1.0
    if {f"{layer}.scores", f"{layer}.popup_scores"} & layout.keys():
        kept = 0.5 if f"{layer}.k_score" in layout else 1 - SPARSITY
    if part == "aux_weight":
        kept = 2.0  # a product of two factors: the other one is after He
    return (uniform * 2 - 1) * math.sqrt(6 / math.prod(shape[1:]) / kept)  # after He, for what a mask leaves
