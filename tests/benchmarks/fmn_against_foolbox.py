"""apx's FMN beside foolbox's, on the same images with the same settings: median distances and their ratio.

    apx run magnitude --arch cnn-small --eval none --out runs/a
    uv pip install foolbox
    python tests/benchmarks/fmn_against_foolbox.py runs/a [RUN ...] --images 200

Columns: `foolbox` as it is; `exact` is foolbox with exact projections, since its L2 attack never projects (it divides a
norm by itself) and its L0 attack keeps one entry more than asked; `paper` is apx with the paper's radius
(overshoot 0), the setting that both have in common; `apx` is apx as it is. The ratio is that of `paper` to `exact`.
In brackets: on how many of the correctly classified images nothing was found; they count as infinitely far.
"""

import argparse
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apx.datasets import to_float
from apx.evaluation.fmn import fmn
from apx.evaluation.norms import length, project
from apx.target import open_target


def attack_of(norm: str, steps: int, *, exact: bool) -> Any:
    """Return foolbox's attack, with exact projections where asked."""
    from foolbox import attacks

    kind = getattr(attacks, {"Linf": "LInfFMNAttack"}.get(norm, f"{norm}FMNAttack"))
    if not exact:
        return kind(steps=steps)

    class Exact(kind):  # type: ignore[misc, valid-type]
        def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
            moved = x.raw - x0.raw
            return x0 + type(x)(project(moved, epsilon.raw.to(moved.dtype), norm))

    return Exact(steps=steps)


def by_foolbox(net: nn.Module, x: Tensor, y: Tensor, norm: str, steps: int, *, exact: bool) -> Tensor:
    """Return the distances of what foolbox finds, [B]."""
    import foolbox

    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device=x.device)
    x_adv = attack_of(norm, steps, exact=exact).run(wrapped, x, foolbox.criteria.Misclassification(y))
    with torch.no_grad():
        wrong = net(x_adv).argmax(dim=1) != y
    return torch.where(wrong, length(x_adv - x, norm), torch.inf)


def compare(path: Path, images: int, steps: int) -> None:
    """Print one line for each norm."""
    opened = open_target(path)
    net, test = opened.module.requires_grad_(False), opened.data.test
    x, y = to_float(test.images[:images]), test.labels[:images]
    with torch.no_grad():
        correct = net(x).argmax(dim=1) == y
    x, y = x[correct], y[correct]
    print(f"{path}: {len(y)} of {images} images are classified correctly", flush=True)
    for norm in ("L0", "L1", "L2", "Linf"):
        found = {
            "foolbox": by_foolbox(net, x, y, norm, steps, exact=False),
            "exact": by_foolbox(net, x, y, norm, steps, exact=True),
            "paper": fmn(net, x, y, norm=norm, steps=steps, overshoot=0.0).distances,
            "apx": fmn(net, x, y, norm=norm, steps=steps).distances,
        }
        columns = [f"{name} {d.median():.5f} ({int(d.isinf().sum())})" for name, d in found.items()]
        ratio = found["paper"].median() / found["exact"].median()
        print(f"  {norm:5}", *columns, f"ratio {ratio:.4f}", sep="  ", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_args()
    if importlib.util.find_spec("foolbox") is None:
        print("skipped: foolbox is not installed (uv pip install foolbox)")
        return
    warnings.filterwarnings("ignore", module="foolbox")
    for path in asked.runs:
        compare(path, asked.images, asked.steps)


if __name__ == "__main__":
    main()
