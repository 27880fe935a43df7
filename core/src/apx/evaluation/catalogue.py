"""The attacks and protocols of the evaluation, by the names that users type."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ..attacks import frozen
from ..errors import UserError
from ..lookup import choose
from .attack import Attack, Setting
from .autoattack import APGDCE, APGDDLR, APGDT, FAB, FABT, PLUS, STANDARD, Square
from .gradient import CW, FGSM, PGD, Clean
from .minimum import FMN, HOFMN
from .moved import Occlusion, Shift
from .network import Logits
from .offered import Offered
from .samples import Batch
from .threat import Threat

SINGLE: Mapping[str, type[Attack]] = {
    "clean": Clean,
    "fgsm": FGSM,
    "pgd": PGD,
    "cw": CW,
    "apgd-ce": APGDCE,
    "apgd-dlr": APGDDLR,
    "apgd-t": APGDT,
    "fab": FAB,
    "fab-t": FABT,
    "square": Square,
    "fmn": FMN,
    "ho-fmn": HOFMN,
    "shift": Shift,
    "occlusion": Occlusion,
}
"""Attacks that are one attack."""

SUITES: Mapping[str, Sequence[Attack]] = {"autoattack": STANDARD, "autoattack-plus": PLUS}
"""Attacks that are several, one after another on what is still robust."""

ATTACKS = (*SINGLE, *SUITES)
"""The evaluation's own attacks; a plugin cannot take their names over."""


@dataclass(frozen=True)
class Protocol:
    """What an evaluation does under a name: its attacks in their order, and the checks of `sanity`."""

    summary: str
    attacks: tuple[Attack, ...]
    sanity: bool = False


PROTOCOLS: Mapping[str, Protocol] = {
    "quick": Protocol("PGD with 20 steps", (PGD(),)),
    "standard": Protocol("AutoAttack, its standard version", STANDARD),
    "plus": Protocol("AutoAttack, its version plus", PLUS),
    "curve": Protocol("minimum-norm distances by HO-FMN: the security curve", (HOFMN(),)),
    "sanity": Protocol("PGD with 20 steps, and checks against gradient masking", (PGD(),), sanity=True),
    "full": Protocol("plus, curve and sanity; a sample is robust if nothing broke it", (*PLUS, HOFMN()), sanity=True),
    "benchmark2024": Protocol("the AP benchmark of 2024 as its code did it, for comparison alone", STANDARD),
}
"""Protocols by name; `benchmark2024` brings a radius and samples of its own (`apx.evaluation.benchmark2024`)."""


def attacks_of(
    attack: str | None, protocol: str | None, parameters: Mapping[str, Any] | None = None
) -> tuple[Attack, ...]:
    """Return the attacks of a single name or of a protocol, `parameters` set where a single attack has them.

    Raises:
        UserError: an unknown name (the sentence has the nearest and all allowed ones), both or neither given, or a
            parameter that the attack does not have or refuses.
    """
    if (attack is None) == (protocol is None):
        raise UserError("an evaluation has an attack or a protocol: give one of the two")
    if protocol is not None:
        chosen = choose(PROTOCOLS, protocol, "protocol").attacks
        if parameters:
            raise UserError(
                f"the protocol {protocol} has no parameters to set: name an attack to set {_all(parameters)}"
            )
        return chosen
    assert attack is not None  # one of the two
    if attack in SUITES:
        if parameters:
            raise UserError(f"{attack} has no parameters to set: name one of its attacks to set {_all(parameters)}")
        return tuple(SUITES[attack])
    return (_single(attack, parameters or {}),)


def _single(name: str, parameters: Mapping[str, Any]) -> Attack:
    if name in SINGLE:  # core's names cannot be taken over, so no plugin need be loaded
        return _made(name, SINGLE[name], parameters)
    from ..registry import attacks

    function = choose(attacks(), name, "attack")
    if not callable(function):
        raise UserError(f"the attack '{name}' that a plugin offers is no function of (model, x, y, *, eps)")
    known = {key: value for key, value in parameters.items() if key in ("steps", "alpha")}
    if further := set(parameters) - set(known):
        raise UserError(f"the attack {name} of a plugin takes steps and alpha, not {', '.join(sorted(further))}")
    return Offered(label=name, function=function, **known)


def _made(name: str, kind: type[Attack], parameters: Mapping[str, Any]) -> Attack:
    fields = list(kind.model_fields)
    for key in parameters:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f", did you mean '{near[0]}'?" if near else ";"
            has = f"it has {', '.join(fields)}" if fields else "it has none"
            raise UserError(f"the attack {name} has no parameter '{key}'{hint} {has}")
    try:
        return kind(**parameters)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where} = {first['input']!r} is refused by the attack {name}: {first['msg']}") from None


def _all(parameters: Mapping[str, Any]) -> str:
    return ", ".join(sorted(parameters))


def perturb(attacks: Sequence[Attack], setting: Setting, batch: Batch) -> Tensor:
    """Return what attacks make of a batch, one after another, [B, C, H, W]: each meets what the earlier ones left.

    The first meets every image, whether it is classified correctly or not. `evaluate` does not go this way, since it
    tells which attack broke which image. What a minimum-norm attack finds further away than the radius is left out.

    Raises:
        UserError: an attack is not made for the threat or the number of classes.
    """
    x_adv, left = batch.x.clone(), torch.arange(len(batch.y), device=batch.x.device)
    for attack in attacks:
        attack.check(setting.threat, setting.classes)
        if len(left):
            x = batch.x[left]
            made = attack.craft(setting, Batch(left.cpu(), batch.indices[left], x, batch.y[left])).x_adv
            near = setting.threat.allows(made, x) if attack.bounded else torch.ones_like(left, dtype=torch.bool)
            x_adv[left[near]] = made[near]
            with torch.no_grad():
                left = (setting.network(x_adv).argmax(dim=1) == batch.y).nonzero()[:, 0]
    return x_adv


def as_function(name: str) -> Callable[..., Tensor]:
    """Return one of core's attacks by the contract of the hook `apx_attacks`: model, x, y, *, eps -> x_adv."""

    def attack(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, norm: str = "Linf", seed: int = 0) -> Tensor:
        rows = torch.arange(len(y), device=x.device)
        with frozen(model), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            network = Logits(model).eval()
            with torch.no_grad():
                classes = network(x[:1]).shape[1]
            setting = Setting(network, Threat(norm, eps), seed, classes)
            return perturb(attacks_of(name, None), setting, Batch(rows.cpu(), rows, x, y))

    attack.__name__ = name
    return attack
