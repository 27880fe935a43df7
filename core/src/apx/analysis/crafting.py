"""Adversarial examples of a whole sample, kept beside the images, where an analysis looks at both."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..evaluation import attack as evaluation
from ..evaluation.attack import Setting
from ..evaluation.catalogue import SINGLE, SUITES, attacks_of, perturb
from ..evaluation.network import Logits, check_logits, device_of, ready_for_attack
from ..evaluation.samples import Samples
from ..evaluation.threat import Threat
from ..runner.progress import Progress

_SLACK = 1e-4  # of a pixel level: the same rounding


@dataclass(frozen=True)
class Attack:
    """How adversarial examples are made.

    Args:
        eps: Linf radius for inputs in [0, 1]; 0 leaves the images as they are.
        name: `pgd`, `fgsm`, `clean`, `autoattack`, or what a plugin offers.
        steps: steps of PGD, or of a plugin's attack that takes them.
        alpha: step size of PGD; eps / 4 where None.
        seed: seed of the random starts.
        rounded: move the examples to multiples of 1/255, towards the images.

    Raises:
        UserError: a setting out of range.
    """

    eps: float
    name: str = "pgd"
    steps: int = 20
    alpha: float | None = None
    seed: int = 0
    rounded: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.eps <= 1:
            raise UserError(f"eps {self.eps:g} is outside [0, 1]: images lie in [0, 1], 8/255 is usual for CIFAR-10")
        if self.steps < 1:
            raise UserError(f"an attack cannot take {self.steps} steps: steps must be at least 1")
        if self.alpha is not None and not self.alpha > 0:
            raise UserError(f"the step size cannot be {self.alpha:g}: alpha must be above 0")
        if self.seed < 0:
            raise UserError(f"seed {self.seed} is negative: seeds start at 0")

    @property
    def step_size(self) -> float:
        """The step size, also where none was given."""
        return self.eps / 4 if self.alpha is None else self.alpha

    def document(self) -> dict[str, Any]:
        """Return the attack as plain JSON values."""
        return {**asdict(self), "alpha": self.step_size}


def craft(
    module: nn.Module,
    samples: Samples,
    attack: Attack,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Tensor:
    """Return adversarial examples of all samples, correctly classified or not; float [n, C, H, W] on the CPU.

    White-box, against the network in eval mode with frozen parameters, where it is; its mode and the global random
    state are restored. The start of PGD is keyed by (seed, sample index), as that of `apx.evaluation.evaluate`.

    Args:
        module: maps images [B, C, H, W] in [0, 1] to logits [B, classes].
        samples: the images, as `apx.evaluation.samples.draw` returns them.
        attack: how.
        batch_size: images per pass; of the core's attacks only AutoAttack depends on it.
        progress: hears a step per batch.

    Raises:
        UserError: unknown attack, unusable outputs, or a plugin's attack that leaves the threat model.
    """
    device, chosen, parts = device_of(module), _chosen(attack), []
    if not all(one.bounded for one in chosen):
        raise UserError(f"the attack {attack.name} leaves every ball of small radius: choose one that does not, as pgd")
    with ready_for_attack(module, device) as network:
        setting = Setting(network, Threat("Linf", attack.eps), attack.seed, _classes(network, samples, device))
        for batch in samples.batches(torch.arange(len(samples)), batch_size, device):
            x_adv = perturb(chosen, setting, batch) if attack.eps > 0 else batch.x
            parts.append((round_towards(x_adv, batch.x) if attack.rounded else x_adv).cpu())
            if progress is not None:
                progress.step()
    return torch.cat(parts)


@torch.no_grad()
def _classes(network: Logits, samples: Samples, device: torch.device) -> int:
    first = next(samples.batches(torch.arange(1), 1, device))
    logits = network(first.x)
    check_logits(logits, first.y)
    return logits.shape[1]


@torch.no_grad()
def predict(module: nn.Module, samples: Samples, *, batch_size: int = 128) -> Tensor:
    """Return the predicted classes of all samples, int64 [n] on the CPU; eval mode, restored.

    Raises:
        UserError: the outputs are no finite logits for the labels' classes.
    """
    device = device_of(module)
    parts = []
    with ready_for_attack(module, device) as network:
        for batch in samples.batches(torch.arange(len(samples)), batch_size, device):
            logits = network(batch.x)
            check_logits(logits, batch.y)
            parts.append(logits.argmax(dim=1).cpu())
    return torch.cat(parts)


def round_towards(x_adv: Tensor, x: Tensor) -> Tensor:
    """Move pixels of `x_adv` to multiples of 1/255, never away from `x`; both float, of one shape, in [0, 1].

    Rounding to the nearest level would enlarge a perturbation: 0.03 is 7.65 levels and would become 8. Where no level
    lies between the two, which 8-bit images rule out, the result is the pixel of `x`.
    """
    levels = x_adv * 255
    down, up = (levels + _SLACK).floor() / 255, (levels - _SLACK).ceil() / 255
    return torch.where(x_adv > x, torch.maximum(down, x), torch.minimum(up, x))


def _chosen(attack: Attack) -> tuple[evaluation.Attack, ...]:
    """Return the attacks of the evaluation, `steps` and `alpha` passed to one that has them."""
    own = SINGLE.get(attack.name)
    asked = {"steps": attack.steps, "alpha": attack.alpha}
    known = asked if own is None else {name: value for name, value in asked.items() if name in own.model_fields}
    parameters = {} if attack.name in SUITES else known
    return attacks_of(attack.name, None, {name: value for name, value in parameters.items() if value is not None})
