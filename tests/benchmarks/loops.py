"""Adversarial training in others' loops, fp32, each in a process of its own: as it runs where there is no apx.

apx changes how its process handles memory, for all that runs there, and official code sets what it likes. As a program
this file takes a `Loop` in JSON, makes ready, and for each line that it reads prints the seconds of one step.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS, ALPHA, BETA = 8 / 255, 2 / 255, 6.0

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], object]


@dataclass(frozen=True)
class Loop:
    """Which loop, by its name in `STEPS`, on what: a resnet18 of a width (None is the whole) and CIFAR's shapes."""

    name: str
    device: str
    width: int | None
    batch: int
    attack: int
    steps: int
    threads: int

    @contextmanager
    def in_its_own_process(self) -> Iterator[Callable[[], float]]:
        """Yield what makes `steps` steps over there and returns the seconds of one."""
        command = [sys.executable, __file__, json.dumps(asdict(self))]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            told, answers = process.stdin, process.stdout

            def train() -> float:
                print(file=told, flush=True)
                return float(answers.readline())

            yield train
            told.close()

    def prepared(self) -> Callable[[], float]:
        """Return what does that in this process."""
        import apx

        torch.set_num_threads(self.threads)
        torch.manual_seed(0)
        network = apx.build("resnet18", num_classes=10, width=self.width).to(self.device)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        x = torch.rand(self.batch, 3, 32, 32).to(self.device)
        y = (torch.arange(self.batch) % 10).to(self.device)
        step = STEPS[self.name](self)

        def train() -> float:
            started = time.perf_counter()
            for _ in range(self.steps):
                step(network, optimizer, x, y)
            if self.device == "cuda":
                torch.cuda.synchronize()
            return (time.perf_counter() - started) / self.steps

        return train


def textbook_trades(loop: Loop) -> Step:
    """The textbook's TRADES."""
    from textbook import trades_step

    return lambda network, optimizer, x, y: trades_step(
        network, optimizer, x, y, torch.randn_like(x), eps=EPS, alpha=ALPHA, steps=loop.attack, beta=BETA
    )


def textbook_pgd(loop: Loop) -> Step:
    """The textbook's PGD, which asks for the gradient of the images alone."""
    from textbook import pgd_step

    return lambda network, optimizer, x, y: pgd_step(
        network, optimizer, x, y, torch.rand_like(x), eps=EPS, alpha=ALPHA, steps=loop.attack
    )


def hydra(loop: Loop) -> Step:
    """HYDRA's own `trades_loss`."""
    from official import official_module

    official = official_module("hydra")

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
        loss = official.trades_loss(
            network, x, y, loop.device, optimizer, step_size=ALPHA, epsilon=EPS, perturb_steps=loop.attack, beta=BETA,
            clip_min=0.0, clip_max=1.0,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def robust_overfitting(loop: Loop) -> Step:
    """The `attack_pgd` of "Overfitting in adversarially robust deep learning" (Rice et al., ICML 2020).

    Many others copied it; each of its steps differentiates with respect to the weights as well.
    """
    if loop.device == "cpu":
        torch.Tensor.cuda = lambda tensor: tensor  # type: ignore[assignment,method-assign,misc]  # it sends all to a GPU
    from official import official_module

    official = official_module("robust_overfitting")

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
        network.train()
        delta = official.attack_pgd(network, x, y, EPS, ALPHA, loop.attack, restarts=1, norm="l_inf").detach()
        loss = functional.cross_entropy(network(official.normalize(torch.clamp(x + delta, 0.0, 1.0))), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


STEPS: dict[str, Callable[[Loop], Step]] = {
    "textbook_trades": textbook_trades,
    "textbook_pgd": textbook_pgd,
    "hydra": hydra,
    "robust_overfitting": robust_overfitting,
}


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent.parent))  # where textbook.py lies
    train = Loop(**json.loads(sys.argv[1])).prepared()
    for _ in sys.stdin:
        print(train(), flush=True)
