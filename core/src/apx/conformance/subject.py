"""What one case of the check runs: a method, a variant, a tiny network, settings shrunk to seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import nn

from ..coupling import check_couplable
from ..errors import UserError
from ..method import Method, MethodSettings, Variant
from ..runner.request import Request, build_settings
from ..training.settings import TrainSettings
from .networks import build_tiny

SPARSITY = {"US": 0.7, "S": 0.5}
_PHASE: Mapping[str, Any] = {"epochs": 2, "batch_size": 16, "steps": 1, "val_steps": 1}
_ADVERSARIAL = ("trades", "pgd", "fgsm-rs")  # core's own; all are as good as PGD here, and PGD is the cheapest


@dataclass(frozen=True)
class Subject:
    """One variant of a method, on one tiny network."""

    method: type[Method]
    variant: Variant
    network: str
    settings: MethodSettings

    @classmethod
    def of(cls, method: type[Method], variant: Variant, network: str) -> "Subject":
        """Choose the settings: the method's preset `check`, else `quick`, else the paper's, with tiny phases.

        What a preset `check` says about a phase stands; all else of a phase's length is overridden.
        """
        return cls(method, variant, network, tiny_settings(method, variant))

    def build_network(self, seed: int) -> nn.Module:
        """Build the untrained network of a run with `seed`.

        Raises:
            UserError: a structured variant meets a network that it cannot couple.
        """
        network = build_tiny(self.network, seed)
        if self.variant.structure == "S":
            check_couplable(network, f"the network '{self.network}'")
        return network

    def stage(self) -> str:
        """Return the stage that the method claims: that of its class, which the registry compares with the entry's."""
        return self.method.stage

    def label(self) -> str:
        """Return the variant in the survey's words."""
        v = self.variant
        return f"{v.structure} {v.granularity} {v.schedule} {v.locality} {v.budget}"


def tiny_settings(method: type[Method], variant: Variant) -> MethodSettings:
    """Return a method's settings with every training phase cut to two epochs of four one-step batches.

    Raises:
        UserError: the method refuses such short phases and offers no preset `check`.
    """
    preset = next((name for name in ("check", "quick") if name in method.presets), "paper")
    request = Request(method=getattr(method, "slug", method.__name__), dataset="conformance", preset=preset)
    chosen = build_settings(method, request, variant)
    own = method.presets[preset] if preset == "check" else {}
    values: dict[str, Any] = {"sparsity": SPARSITY[variant.structure]} | dict(own)
    for name in type(chosen).model_fields:
        phase = getattr(chosen, name)
        if isinstance(phase, TrainSettings):
            values[name] = phase.model_dump() | tiny_phase(phase) | _plain(own.get(name, {}))
    rounds = {"rounds": 3} if "rounds" not in own else {}
    try:
        return type(chosen).model_validate(chosen.model_dump() | rounds | values)
    except ValidationError as error:
        raise UserError(
            f"the settings of {request.method} refuse phases of {_PHASE['epochs']} epochs "
            f"({error.errors()[0]['msg']}); give {method.__name__}.presets a 'check' with short ones"
        ) from error


def tiny_phase(phase: TrainSettings) -> dict[str, Any]:
    """Return the overrides of one training phase; a phase of no epochs keeps them."""
    overrides = dict(_PHASE)
    if phase.objective in _ADVERSARIAL:
        overrides |= {"objective": "pgd"}
    if phase.epochs == 0:
        del overrides["epochs"]
    return overrides


def _plain(phase: TrainSettings | Mapping[str, Any]) -> dict[str, Any]:
    return phase.model_dump() if isinstance(phase, TrainSettings) else dict(phase)
