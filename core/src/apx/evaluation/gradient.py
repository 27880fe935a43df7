"""FGSM and PGD, for a quick look: AutoAttack is the verdict."""

from collections.abc import Callable

from torch import Tensor

from ..attacks import fgsm, pgd, uniform_start
from ..randomness import keyed_uniform
from .outcome import Attempt
from .progress import Work
from .samples import Batch


def fgsm_work() -> Work:
    """Return the work of FGSM: one gradient, one prediction."""
    return Work(passes=2, weight=3)


def pgd_work(steps: int) -> Work:
    """Return the work of PGD: `steps` gradients, one prediction."""
    return Work(passes=steps + 1, weight=3)


def run_fgsm(attempt: Attempt) -> None:
    """Attack the correctly classified samples by one gradient step without a random start."""
    parameters = {"eps": attempt.eps, "loss": "ce", "random_start": False}
    attempt.outcome.attacks.append({"name": "fgsm", "parameters": parameters})
    run_attack(attempt, "fgsm", fgsm_work(), lambda b: fgsm(attempt.network, b.x, b.y, eps=attempt.eps))


def run_pgd(attempt: Attempt, *, steps: int, alpha: float) -> None:
    """Attack the correctly classified samples by PGD (`apx.attacks.pgd`), one start per sample.

    The start is drawn from (seed, sample index): neither batch size nor the other samples change it.
    """
    name, eps = f"pgd-{steps}", attempt.eps
    parameters = {
        "eps": eps,
        "alpha": alpha,
        "steps": steps,
        "loss": "ce",
        "random_start": True,
        "restarts": 1,
    }
    attempt.outcome.attacks.append({"name": name, "parameters": parameters})

    def craft(batch: Batch) -> Tensor:
        noise = keyed_uniform(attempt.seed, "evaluation-pgd", batch.indices, batch.x.shape[1:])
        start = uniform_start(batch.x, eps, noise)
        return pgd(attempt.network, batch.x, batch.y, eps=eps, alpha=alpha, steps=steps, start=start)

    run_attack(attempt, name, pgd_work(steps), craft)


def run_attack(attempt: Attempt, name: str, work: Work, craft: Callable[[Batch], Tensor]) -> None:
    """Attack the samples that are still robust by `craft` (a batch to images [B, C, H, W]), and judge the images."""
    rows = attempt.outcome.robust.nonzero()[:, 0]
    attempt.meter.skip(len(attempt.samples) - len(rows), work)
    for batch in attempt.samples.batches(rows, attempt.batch_size, attempt.device):
        attempt.meter.start(len(batch.rows), work)
        attempt.judge(name, batch, craft(batch))
        attempt.meter.finish()
