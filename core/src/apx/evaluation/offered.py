"""Attacks by name: the evaluation's own, and those that plugins offer by `apx_attacks`, held to the hook's contract."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..lookup import accepts, choose
from ..randomness import derive_seed
from .gradient import pgd_work, run_attack
from .outcome import Attempt, within_threat
from .progress import Work
from .samples import Batch

ATTACKS = ("clean", "fgsm", "pgd", "autoattack")
"""The evaluation's own attacks; a plugin cannot take their names over."""

Attack = Callable[..., Tensor]


def attack_named(name: str) -> Attack | None:
    """Return the attack that a plugin offers under `name`, None where `name` is one of `ATTACKS`.

    Raises:
        UserError: unknown name (the sentence has the nearest and all allowed ones), or what the plugin offers cannot
            be called with a radius.
    """
    if name in ATTACKS:  # core's names cannot be taken over, so no plugin need be loaded
        return None
    from ..registry import attacks

    attack = choose(attacks(), name, "attack")
    if not callable(attack) or not accepts(attack, "eps"):
        raise UserError(f"the attack '{name}' that a plugin offers is no function of (model, x, y, *, eps)")
    return attack


def offered_work(steps: int) -> Work:
    """Return what a stranger's attack is taken to cost: as much as PGD. It is for the progress display alone."""
    return pgd_work(steps)


def run_offered(attempt: Attempt, name: str, attack: Attack, *, steps: int, alpha: float) -> None:
    """Attack the correctly classified samples by what a plugin offers, one batch at a time.

    The global generators are seeded before each batch by (seed, name, first sample), so that an attack which draws
    from them repeats itself; one that wants to be independent of the batch size takes `seed` and `indices`.

    Raises:
        UserError: the attack returned something else than images of the threat model.
    """
    asked = {"eps": attempt.eps, "steps": steps, "alpha": alpha, "seed": attempt.seed}
    passed = {key: value for key, value in asked.items() if accepts(attack, key)}
    keyed = accepts(attack, "indices")
    attempt.outcome.attacks.append({"name": name, "parameters": {**_defaults(attack), **passed}})
    attempt.outcome.providers |= _provider(attack)

    def craft(batch: Batch) -> Tensor:
        torch.manual_seed(derive_seed(attempt.seed, "evaluation", name, int(batch.indices[0])))
        more = {"indices": batch.indices.clone()} if keyed else {}
        x_adv = attack(attempt.network, batch.x.clone(), batch.y.clone(), **passed, **more)
        attempt.network.eval()  # whatever mode the attack has left it in
        return checked(name, x_adv, batch.x, attempt.eps)

    run_attack(attempt, name, offered_work(steps), craft)


def checked(name: str, x_adv: object, x: Tensor, eps: float) -> Tensor:
    """Return what an attack made of the images `x`, float [B, C, H, W], detached and like `x` in dtype and device.

    Raises:
        UserError: it is no float tensor of the shape of `x`, or leaves the Linf ball of radius `eps` or [0, 1].
    """
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape or not x_adv.is_floating_point():
        got = f"{x_adv.dtype} {list(x_adv.shape)}" if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise UserError(f"the attack '{name}' returned {got}; it must return float images {list(x.shape)}, as it got")
    x_adv = x_adv.detach().to(x)
    if not bool(within_threat(x_adv, x, eps).all()):
        furthest, low, high = (float(value) for value in ((x_adv - x).abs().max(), x_adv.min(), x_adv.max()))
        raise UserError(
            f"the attack '{name}' left the threat model: its images lie up to {furthest:.4g} from their originals (eps "
            f"is {eps:.4g}) and in [{low:.4g}, {high:.4g}]; its author can end with apx.attacks.project"
        )
    return x_adv


def _defaults(attack: Attack) -> dict[str, Any]:
    """Return the plain defaults of an attack's own parameters, which determine the result as well."""
    parameters = inspect.signature(attack).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, str | int | float)}


def _provider(attack: Attack) -> dict[str, str]:
    """Return distribution -> version of the plugin whose package defines an attack; none where it cannot be told."""
    from ..registry import plugins

    package = str(getattr(attack, "__module__", "")).partition(".")[0]
    return {plugin.distribution: plugin.version for plugin in plugins() if plugin.package == package}
