"""AutoAttack through apx, on a prepared network, beside pyautoattack on the masked network, in one interleaved run.

    uv run python tests/benchmarks/attack_speed.py [MODEL ...]

prints a table: seconds of `pyautoattack` called directly on the masked network in eval mode, and of
`evaluate(attack="autoattack")` on the same images with the same seed and batch size, medians over interleaved
repetitions; their ratio; the ratio if preparation (here seconds beside seconds, in a whole evaluation beside hours) is
not counted; and how many times fewer operations the prepared network needs.

The work is fixed: labels are the network's own predictions and eps is far too small to change one, so no sample falls
and every attack does all it may. It is cut to minutes: APGD-CE, targeted FAB and Square alone (targeted APGD passes as
APGD-CE does), with fewer steps, targets and queries, mixed as the standard version is for a robust sample, about one
gradient to three plain passes.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pyautoattack
import torch
from torch import Tensor, nn

from apx import build, evaluate
from apx.cost import count_flops
from apx.coupling import couple_filters
from apx.evaluation import protocol
from apx.evaluation.autoattack import APGDCE, FABT, Square
from apx.evaluation.catalogue import SUITES
from apx.evaluation.prepared import prepare

EPS, CLASSES = 1e-5, 10


@dataclass(frozen=True)
class Model:
    """A network and the share of its filters that is masked, in all convolutions or in those that end in no stream."""

    arch: str
    share: float = 0.0
    everywhere: bool = True


MODELS = {
    "resnet18": Model("resnet18"),
    "vgg16-75": Model("vgg16", 0.75),
    "resnet18-75": Model("resnet18", 0.75, everywhere=False),
    "resnet18-75-everywhere": Model("resnet18", 0.75),
}
DEFAULT = ("resnet18", "vgg16-75", "resnet18-75")


@dataclass(frozen=True)
class Work:
    """What each attack may do: steps of APGD-CE, steps and target classes of FAB, queries of Square."""

    steps: int
    fab_steps: int
    targets: int
    queries: int

    def direct(self, network: nn.Module, **options: Any) -> pyautoattack.AutoAttack:
        """Return the package's own object with this work."""
        suite = pyautoattack.AutoAttack(network, version="custom", attacks=["apgd-ce", "fab-t", "square"], **options)
        suite.verbose = False
        for name, value in (("n_iter", self.steps), ("n_iter_orig", self.steps), ("n_restarts", 1)):
            setattr(suite.apgd, name, value)
        for name, share in (("n_iter_2", 0.22), ("n_iter_min", 0.06), ("size_decr", 0.03)):  # as its constructor does
            setattr(suite.apgd, name, max(int(share * self.steps), 1))
        suite.fab.n_iter, suite.fab.n_target_classes = self.fab_steps, self.targets
        suite.square.n_queries = self.queries
        return suite

    def through_apx(self) -> mock._patch_dict:
        """Return a context in which `autoattack` means this work to `evaluate`."""
        fab = FABT(steps=self.fab_steps, targets=self.targets)
        return mock.patch.dict(SUITES, autoattack=(APGDCE(steps=self.steps), fab, Square(queries=self.queries)))


def network(model: Model, size: int, width: int | None) -> nn.Module:
    """Return an untrained network with plausible batch norms and the masks of `model`, in eval mode."""
    torch.manual_seed(0)
    net = build(model.arch, num_classes=CLASSES, image_size=size, width=width)
    images = torch.rand(32, 3, size, size)
    with torch.no_grad():
        for _ in range(20):  # running statistics that fit the weights
            net(images)
        remove(net, model, images)
        for _ in range(20):  # those of what is left
            net(images)
        remove(net, model, images)  # training mode has moved what belongs to the removed filters
    return net.eval()


def remove(net: nn.Module, model: Model, images: Tensor) -> None:
    """Mask filters at random, with what belongs to them in the batch norms."""
    generator = torch.Generator().manual_seed(1)
    masks = {}
    for name, layer in net.named_modules():
        inside = ".conv1" in name  # the first convolution of a residual block, whose filters no other layer shares
        if isinstance(layer, nn.Conv2d) and (model.everywhere or inside):
            mask = torch.ones_like(layer.weight, dtype=torch.bool)
            mask[torch.randperm(len(mask), generator=generator)[: round(model.share * len(mask))]] = False
            masks[f"{name}.weight"] = mask
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, mask in couple_filters(net, masks, images[:2]).items():
        tensors[name].mul_(mask)


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@contextmanager
def preparation_timed() -> Iterator[list[float]]:
    """Collect the seconds that `evaluate` prepares for."""
    seconds: list[float] = []
    made = protocol.prepared

    def watched(*args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        prepared = made(*args, **options)
        seconds.append(time.perf_counter() - started)
        return prepared

    with mock.patch.object(protocol, "prepared", watched):
        yield seconds


def measure(name: str, work: Work, asked: argparse.Namespace) -> str:
    """Return one row of the table."""
    net = network(MODELS[name], asked.size, asked.width).to(asked.device)
    images = torch.rand(asked.images, 3, asked.size, asked.size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        labels = torch.cat([net(part.to(asked.device)).argmax(dim=1).cpu() for part in images.split(asked.batch)])
    robust: list[float] = []
    preparing: list[float] = []

    def direct() -> None:
        suite = work.direct(net, eps=EPS, seed=0, device=asked.device)
        _, predictions = suite.run_standard_evaluation(images, labels, batch_size=asked.batch)
        robust.append(float((predictions == labels).float().mean()))

    def evaluated() -> None:
        options = {"attack": "autoattack", "eps": EPS, "batch_size": asked.batch, "device": asked.device}
        with work.through_apx(), preparation_timed() as seconds:
            document = evaluate(net, [(images, labels)], precision=asked.precision, **options)
        robust.append(document["robust_accuracy"]["value"])
        preparing.extend(seconds)

    prepared = prepare(net, images[:8].to(asked.device), precision=asked.precision)
    print(f"{name}: {', '.join(prepared.steps)}", flush=True)
    rounds = []
    for number in range(asked.repetitions):
        pair = [direct, evaluated] if number % 2 == 0 else [evaluated, direct]
        taken = {contender: timed(contender) for contender in pair}
        rounds.append((taken[direct], taken[evaluated], taken[evaluated] - preparing[-1]))
    if set(robust) != {1.0}:
        raise SystemExit(f"{name}: samples fell, so the work was not the same: robust {sorted(set(robust))}")
    example = images[:1].to(asked.device)
    flops = count_flops(net, example) / count_flops(prepared.module, example)
    cells = [name, *(f"{statistics.median(column):.2f}" for column in zip(*rounds, strict=True))]
    cells += [ratios([row[0] / row[1] for row in rounds]), ratios([row[0] / row[2] for row in rounds]), f"{flops:.2f}"]
    return "| " + " | ".join(cells) + " |"


def ratios(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; absent: the first three")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32, help="pixels of the square images")
    parser.add_argument("--width", type=int, help="channels of the first stage; the paper's where absent")
    parser.add_argument("--steps", type=int, default=10, help="steps of APGD-CE (standard: 100)")
    parser.add_argument("--fab-steps", type=int, default=3, help="steps of FAB (standard: 100)")
    parser.add_argument("--targets", type=int, default=1, help="target classes of FAB (standard: 9)")
    parser.add_argument("--queries", type=int, default=30, help="queries of Square (standard: 5000)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice where absent")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the prepared network")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    work = Work(asked.steps, asked.fab_steps, asked.targets, asked.queries)
    rows = [measure(name, work, asked) for name in asked.models or DEFAULT]
    print(f"\n{asked.images} images of {asked.size}x{asked.size}, batch {asked.batch}, {work}, {asked.precision}")
    print(
        f"{asked.device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}; brackets: all repetitions\n"
    )
    print("| network | direct (s) | evaluate (s) | without preparing (s) | ratio | without preparing | fewer FLOPs |")
    print("|---" * 7 + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
