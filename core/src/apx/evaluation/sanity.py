"""Evidence against gradient masking: what a model must do under attack if its gradients tell the truth.

The checks follow Athalye et al. (ICML 2018, section 3.1) and Carlini et al. (arXiv 1902.06705): an unbounded attack
succeeds, iterations and restarts help little once an attack has converged, one step does not beat many, a black-box
attack does not beat a white-box one, and the loss rises along its gradient.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..randomness import keyed_uniform
from .attack import Attack, Setting
from .attempt import Attempt
from .autoattack import Square
from .gradient import FGSM, PGD
from .network import Logits
from .progress import Work
from .samples import Batch, Samples
from .threat import Threat

MOST_SAMPLES = 128
"""The checks need no more, and cost several evaluations."""

_LITTLE = 0.05
"""Further steps and restarts should break no more than this share of the samples."""

_RISING = 0.9
"""Share of the samples whose loss should rise more along the gradient than in a random direction."""


@dataclass(frozen=True)
class Verdict:
    """One check: whether the model passed, the sentence that says so, and the numbers behind it."""

    name: str
    passed: bool
    verdict: str
    values: dict[str, Any]


def sanity(attempt: Attempt) -> list[dict[str, Any]]:
    """Return the verdicts on the first samples of an evaluation, as JSON; what a killed one had made is recalled."""
    if not bool(attempt.outcome.correct[:MOST_SAMPLES].any()):
        return [vars(Verdict("correct", False, "no sample is classified correctly: nothing can be checked", {}))]
    attempt.meter.start(1, work(len(attempt.samples)))
    done = {verdict["name"]: verdict for verdict in attempt.journal.trials("sanity")}
    bench = _Bench.of(attempt)
    verdicts = []
    for name, check in CHECKS.items():
        verdict = done.get(name)
        if verdict is None:
            verdict = vars(check(bench))
            attempt.journal.add_trial("sanity", verdict)
        verdicts.append(verdict)
    attempt.meter.finish()
    return verdicts


def work(n: int) -> Work:
    """Return about what the checks of `n` samples cost: the unbounded attacks, PGD in all its lengths, and Square."""
    per_sample = 9 * 51 + 2 * 21 + 101 + 5 * 21 + 1001 // 3
    return Work(passes=min(n, MOST_SAMPLES) * per_sample, weight=3)


class _Bench:
    """The samples of the checks, and the share of them that an attack leaves."""

    def __init__(self, attempt: Attempt, rows: Tensor) -> None:
        self._attempt, self._rows = attempt, rows
        self.threat, self.seed = attempt.setting.threat, attempt.setting.seed
        self.n = min(len(attempt.samples), MOST_SAMPLES)
        self._known: dict[tuple[str, float], Tensor] = {}

    @classmethod
    def of(cls, attempt: Attempt) -> "_Bench":
        first = attempt.outcome.correct[:MOST_SAMPLES]
        return cls(attempt, first.nonzero()[:, 0])

    @property
    def attacked(self) -> Logits:
        return self._attempt.setting.network

    def batches(self) -> Iterator[Batch]:
        samples: Samples = self._attempt.samples
        return samples.batches(self._rows, self._attempt.batch_size, self._attempt.device)

    def left(self, attack: Attack, eps: float | None = None) -> Tensor:
        """Return which of the correct samples the network classifies correctly under `attack`, bool."""
        radius = self.threat.eps if eps is None else eps
        key = (repr(attack), radius)
        if key not in self._known:
            setting = replace(self._attempt.setting, threat=Threat(self.threat.norm, radius))
            self._known[key] = torch.cat([self._survivors(attack, setting, batch) for batch in self.batches()])
        return self._known[key]

    def accuracy(self, attack: Attack, eps: float | None = None) -> float:
        """Return the robust accuracy over all samples of the checks."""
        return int(self.left(attack, eps).sum()) / self.n

    def _survivors(self, attack: Attack, setting: Setting, batch: Batch) -> Tensor:
        x_adv = attack.craft(setting, batch).x_adv
        with torch.no_grad():
            return (self._attempt.network(x_adv).argmax(dim=1) == batch.y).cpu()


def _unbounded(bench: _Bench) -> Verdict:
    """Robust accuracy must fall to 0 as eps grows: at the last radius every image is in reach."""
    diameter = 1.0 if bench.threat.norm == "Linf" else 1e3
    radii = [bench.threat.eps * 2**doubling for doubling in range(8)]
    radii = [*[eps for eps in radii if eps < diameter], diameter]
    left = [bench.accuracy(PGD(steps=50, alpha=eps / 10), eps) for eps in radii]
    fell = left[-1] == 0
    sentence = f"robust accuracy {'falls to 0' if fell else f'stays at {left[-1]:.1%}'} as eps grows to {diameter:g}"
    return Verdict("unbounded", fell, sentence, {"eps": radii, "robust_accuracy": left})


def _steps(bench: _Bench) -> Verdict:
    few, many = (bench.accuracy(PGD(steps=steps)) for steps in (20, 100))
    return _little("steps", few, many, "100 steps", "20", {"20": few, "100": many})


def _restarts(bench: _Bench) -> Verdict:
    one, five = (bench.accuracy(PGD(restarts=restarts)) for restarts in (1, 5))
    return _little("restarts", one, five, "5 restarts", "1", {"1": one, "5": five})


def _little(name: str, few: float, many: float, what: str, than: str, values: dict[str, float]) -> Verdict:
    broke = few - many
    sentence = f"{what} break {broke:.1%} more samples than {than}"
    return Verdict(name, broke <= _LITTLE, sentence, {"robust_accuracy": values, "allowed": _LITTLE})


def _one_step(bench: _Bench) -> Verdict:
    one, many = bench.accuracy(FGSM()), bench.accuracy(PGD())
    sentence = f"one step leaves {one:.1%}, twenty leave {many:.1%}"
    return Verdict("one-step", one >= many, sentence, {"fgsm": one, "pgd-20": many})


def _black_box(bench: _Bench) -> Verdict:
    white, black = bench.left(PGD(steps=100)), bench.left(Square(queries=1000))
    only = int((white & ~black).sum()) / bench.n
    left = {"pgd-100": int(white.sum()) / bench.n, "square-1000": int(black.sum()) / bench.n}
    passed = left["square-1000"] >= left["pgd-100"]
    sentence = (
        f"the black-box attack leaves {left['square-1000']:.1%}, the white-box one {left['pgd-100']:.1%}; "
        f"{only:.1%} fall to the black-box one alone"
    )
    return Verdict("black-box", passed, sentence, {"robust_accuracy": left, "black_box_alone": only})


def _loss_surface(bench: _Bench) -> Verdict:
    """The loss along the sign of its gradient, beside that along a random sign pattern of the same length."""
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    along, beside, steeper = [], [], []
    for batch in bench.batches():
        losses = _losses_of(bench, batch)
        direction, random = _directions(bench, batch)
        ascent = torch.stack([losses(batch.x + share * bench.threat.eps * direction) for share in shares])
        other = torch.stack([losses(batch.x + share * bench.threat.eps * random) for share in shares])
        along.append(ascent)
        beside.append(other)
        steeper.append((ascent[-1] > other[-1]) & (ascent[-1] > ascent[0]))
    rising = float(torch.cat(steeper).float().mean())
    sentence = f"the loss of {rising:.1%} of the samples rises along its gradient, and more than in a random direction"
    values = {
        "share_of_eps": list(shares),
        "loss_along_gradient": torch.cat(along, dim=1).mean(dim=1).tolist(),
        "loss_along_random": torch.cat(beside, dim=1).mean(dim=1).tolist(),
        "rising": rising,
    }
    return Verdict("loss-surface", rising >= _RISING, sentence, values)


def _directions(bench: _Bench, batch: Batch) -> tuple[Tensor, Tensor]:
    network = bench.attacked
    x = batch.x.clone().requires_grad_(True)
    with torch.enable_grad():
        loss = functional.cross_entropy(network(x), batch.y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    random = keyed_uniform(bench.seed, "evaluation-sanity", batch.indices, batch.x.shape[1:]) - 0.5
    if bench.threat.norm == "Linf":
        return gradient.sign(), random.sign()
    return functional.normalize(gradient.flatten(1)).view_as(x), functional.normalize(random.flatten(1)).view_as(x)


def _losses_of(bench: _Bench, batch: Batch) -> Callable[[Tensor], Tensor]:
    network = bench.attacked

    @torch.no_grad()
    def losses(images: Tensor) -> Tensor:
        return functional.cross_entropy(network(images.clamp(0.0, 1.0)), batch.y, reduction="none").cpu()

    return losses


CHECKS: dict[str, Callable[[_Bench], Verdict]] = {
    "unbounded": _unbounded,
    "steps": _steps,
    "restarts": _restarts,
    "one-step": _one_step,
    "black-box": _black_box,
    "loss-surface": _loss_surface,
}
"""The checks by name, in their order."""
