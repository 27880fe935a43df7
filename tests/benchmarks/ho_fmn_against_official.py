"""apx's HO-FMN beside the authors' code at the same budget: robust accuracy at a threat, and median distances.

    git clone https://github.com/pralab/HO-FMN
    APX_HO_FMN=HO-FMN python tests/benchmarks/ho_fmn_against_official.py runs/a [RUN ...] --eps 0.15

From the authors' code come the attack and the search space. Its tuner needs an ax-platform of 2024, which does not
install beside a current PyTorch: apx's tuner stands in for it, with the same points and suggestions for both. Both
tune on the same images of the validation split; attacked ones are of the test split. Official images that are
unchanged count as not found, not as broken.
"""

import argparse
import importlib.util
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apx.datasets import to_float
from apx.evaluation.ho_fmn import Configuration, configured_fmn, tune
from apx.evaluation.norms import length
from apx.evaluation.search_space import Choice, Range, Space, space_of, suggest
from apx.randomness import keyed_permutation
from apx.target import open_target

Distances = Callable[[Tensor, Tensor, dict[str, Any], int], Tensor]
"""(images, labels, hyperparameters, steps) -> distances [B]."""


def official_space(root: Path, optimizer: str, scheduler: str | None) -> Space:
    """Return the authors' search space; what is fixed in it is left out."""
    spec = importlib.util.spec_from_file_location("official_search_space", root / "src/ho_fmn/search_space.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = {**module.OPTIMIZER_PARAMS[optimizer], **(module.SCHEDULER_PARAMS[scheduler] if scheduler else {})}
    space: dict[str, Range | Choice] = {}
    for name, row in rows.items():
        if isinstance(row, dict) and row["type"] == "range":
            space[name] = Range(*map(float, row["bounds"]), log=row.get("log_scale", False))
        elif isinstance(row, dict) and row["type"] == "choice":
            space[name] = Choice(tuple(row["values"]))
    return space


def official_attack(net: nn.Module, asked: argparse.Namespace) -> Distances:
    """Return the authors' attack, as a function of the hyperparameters."""
    from src.attacks.fmn import FMN

    def attack(x: Tensor, y: Tensor, chosen: dict[str, Any], steps: int) -> Tensor:
        scheduler = {name: chosen[name] for name in ("factor", "patience") if name in chosen}
        fixed = {"CALR": {"T_max": steps, "eta_min": 0}, "RLROP": {"batch_size": len(x)}}
        made = FMN(
            net,
            steps=steps,
            loss=asked.loss,
            optimizer=asked.optimizer,
            scheduler=asked.scheduler,
            optimizer_config={name: value for name, value in chosen.items() if name not in scheduler},
            scheduler_config={**fixed[asked.scheduler], **scheduler} if asked.scheduler else None,
        )
        x_adv = made.forward(x, y)
        with torch.no_grad():
            wrong = net(x_adv).argmax(dim=1) != y
        return torch.where(wrong, length(x_adv - x, "Linf"), math.inf)

    return attack


def tune_official(attack: Distances, space: Space, x: Tensor, y: Tensor, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the best hyperparameters; all trials see the same images."""
    seen: list[tuple[dict[str, Any], float]] = []
    for _ in range(asked.trials):
        chosen = suggest(space, seen, asked.seed)
        distances = attack(x, y, chosen, asked.steps)
        seen.append((chosen, float(torch.where(distances == 0, math.inf, distances).median())))
    return min(seen, key=lambda trial: trial[1])[0]


def compare(path: Path, root: Path, asked: argparse.Namespace) -> None:
    """Print both results on one model."""
    opened = open_target(path)
    net = opened.module.requires_grad_(False)
    tuning, test, size = opened.data.val, opened.data.test, asked.batch
    images, labels = to_float(tuning.images), tuning.labels
    x, y = to_float(test.images[: asked.images]), test.labels[: asked.images]
    rows = keyed_permutation(len(labels), asked.seed, "tuning")[:size]

    space = official_space(root, asked.optimizer, asked.scheduler)
    if dict(space) != dict(space_of(asked.optimizer, asked.scheduler)):
        print(f"  search spaces differ: {space} and {space_of(asked.optimizer, asked.scheduler)}")
    attack = official_attack(net, asked)
    best = tune_official(attack, space, images[rows], labels[rows], asked)
    names = {"loss": asked.loss, "optimizer": asked.optimizer, "scheduler": asked.scheduler}
    tuned = tune(
        net, images[rows], labels[rows], norm="Linf", trials=asked.trials, steps=asked.steps, seed=asked.seed, **names
    )
    same = Configuration(**names, **best, eta_min=0.0)

    def ours(configuration: Configuration, fidelity: Any = "apx") -> Tensor:
        more: dict[str, Any] = {"configuration": configuration, "fidelity": fidelity}
        return configured_fmn(net, x, y, norm="Linf", steps=asked.final, **more).distances

    report(
        path,
        asked.eps,
        {
            "official": attack(x, y, best, asked.final),
            "apx": ours(tuned.configuration),
            "apx, official's configuration": ours(same),
            "the same, fidelity official": ours(same, "official"),
        },
    )
    print(f"  official {best}\n  apx {tuned.configuration.as_dict()}", flush=True)


def report(path: Path, eps: float, results: dict[str, Tensor]) -> None:
    """Print robust accuracy, counts and medians of the images that are classified correctly."""
    print(path)
    for name, distances in results.items():
        robust, correct = int((distances > eps).sum()), distances[distances > 0]
        print(
            f"  {name:30} robust {robust} of {len(distances)}, correct {len(correct)}, "
            f"median {correct.median():.5f}, not found {int(distances.isinf().sum())}",
            flush=True,
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--eps", type=float, default=0.15)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--final", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loss", default="LL")
    parser.add_argument("--optimizer", default="SGD")
    parser.add_argument("--scheduler", type=lambda text: None if text == "none" else text, default="CALR")
    asked = parser.parse_args()
    root = Path(os.environ.get("APX_HO_FMN", ""))
    if not (root / "src/attacks/fmn.py").is_file():
        print("skipped: APX_HO_FMN does not name a copy of github.com/pralab/HO-FMN")
        return
    sys.path.insert(0, str(root))
    for path in asked.runs:
        compare(path, root, asked)


if __name__ == "__main__":
    main()
