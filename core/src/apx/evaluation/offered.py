"""Attacks that plugins offer by the hook `apx_attacks`, held to the hook's contract."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from pydantic import ConfigDict
from torch import Tensor

from ..errors import UserError
from ..lookup import accepts
from ..randomness import derive_seed
from .attack import Attack, Crafted, Setting
from .norms import length
from .progress import Work
from .samples import Batch
from .threat import Threat

Function = Callable[..., Tensor]


class Offered(Attack):
    """A plugin's attack; it gets of `norm`, `steps`, `alpha`, `seed` and `indices` what it names.

    The global generators are seeded before each batch by (seed, name, first sample), so that an attack which draws from
    them repeats itself; one that wants to be independent of the batch size takes `seed` and `indices`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    label: str
    function: Function
    steps: int = 20
    alpha: float | None = None

    @property
    def name(self) -> str:
        """The plugin's name for it."""
        return self.label

    def work(self, classes: int) -> Work:
        """Taken to be as much as PGD's, for the progress display alone."""
        return Work(passes=self.steps + 1, weight=3)

    def check(self, threat: Threat, classes: int) -> None:
        """Refuse a norm that the attack does not ask for.

        Raises:
            UserError: another norm than Linf, and the attack takes no `norm`; or it takes no radius.
        """
        if not accepts(self.function, "eps"):
            raise UserError(f"the attack '{self.label}' that a plugin offers is no function of (model, x, y, *, eps)")
        if threat.norm != "Linf" and not accepts(self.function, "norm"):
            raise UserError(f"the attack {self.label} is not made for norm {threat.norm}: use Linf")

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Call the plugin's function and check what it returns.

        Raises:
            UserError: the attack returned something else than images of the threat model.
        """
        torch.manual_seed(derive_seed(setting.seed, "evaluation", self.label, int(batch.indices[0])))
        passed = self._passed(setting)
        if accepts(self.function, "indices"):
            passed["indices"] = batch.indices.clone()
        x_adv = self.function(setting.network, batch.x.clone(), batch.y.clone(), **passed)
        setting.network.eval()  # whatever mode the attack has left it in
        return Crafted(checked(self.label, x_adv, batch.x, setting.threat))

    def record(self, setting: Setting) -> dict[str, Any]:
        """Return what was passed, and the plain defaults of the attack's own parameters."""
        return {**_defaults(self.function), **self._passed(setting)}

    def provider(self) -> dict[str, str]:
        """Return distribution -> version of the plugin whose package defines the attack; none where unknown."""
        from ..registry import plugins

        package = str(getattr(self.function, "__module__", "")).partition(".")[0]
        return {plugin.distribution: plugin.version for plugin in plugins() if plugin.package == package}

    def _passed(self, setting: Setting) -> dict[str, Any]:
        eps, norm = setting.threat.eps, setting.threat.norm
        alpha = eps / 4 if self.alpha is None else self.alpha
        asked = {"eps": eps, "norm": norm, "steps": self.steps, "alpha": alpha, "seed": setting.seed}
        return {key: value for key, value in asked.items() if accepts(self.function, key)}


def checked(name: str, x_adv: object, x: Tensor, threat: Threat) -> Tensor:
    """Return what an attack made of the images `x`, float [B, C, H, W], detached and like `x` in dtype and device.

    Raises:
        UserError: it is no float tensor of the shape of `x`, or leaves the threat's ball or [0, 1].
    """
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape or not x_adv.is_floating_point():
        got = f"{x_adv.dtype} {list(x_adv.shape)}" if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise UserError(f"the attack '{name}' returned {got}; it must return float images {list(x.shape)}, as it got")
    x_adv = x_adv.detach().to(x)
    if not bool(threat.allows(x_adv, x).all()):
        distance = length(x_adv - x, threat.norm).max()
        furthest, low, high = (float(value) for value in (distance, x_adv.min(), x_adv.max()))
        raise UserError(
            f"the attack '{name}' left the threat model: its images lie up to {furthest:.4g} from their originals "
            f"({threat.norm}, eps is {threat.eps:.4g}) and in [{low:.4g}, {high:.4g}]; "
            "its author can end with apx.attacks.project"
        )
    return x_adv


def _defaults(attack: Function) -> dict[str, Any]:
    """Return the plain defaults of an attack's own parameters, which determine the result as well."""
    parameters = inspect.signature(attack).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, str | int | float)}
