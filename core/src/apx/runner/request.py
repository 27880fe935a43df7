"""From what a user asks to what will run: every mistake is found here, before anything trains or is written."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..method import Method, MethodSettings, Variant
from ..training.settings import TrainSettings, scaled

if TYPE_CHECKING:
    from ..datasets import Dataset


@dataclass(frozen=True)
class Request:
    """What `apx run` was asked; `None` means the default of method, variant or machine."""

    method: str
    arch: str = "resnet18"
    dataset: str = "digits"
    data_dir: str | None = None
    width: int | None = None
    structure: str | None = None
    granularity: str | None = None
    schedule: str | None = None
    locality: str | None = None
    budget: str | None = None
    sparsity: float | None = None
    preset: str = "quick"
    set: Mapping[str, Any] = field(default_factory=dict)
    epochs_scale: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    from_checkpoint: str | None = None
    eval: str = "quick"
    deterministic: bool = True
    full_size: bool = False

    def __post_init__(self) -> None:
        prefix, _, rest = self.dataset.partition(":")
        if prefix == "folder" and rest:  # a run resumes from any working directory
            object.__setattr__(self, "dataset", f"folder:{Path(rest).expanduser().resolve()}")

    def document(self) -> dict[str, Any]:
        """Return the request as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Request":
        """Read what `document` returned (also from a `--config` file).

        Raises:
            UserError: an unknown name.
        """
        allowed = list(cls.__dataclass_fields__)
        for name in document:
            if name not in allowed:
                raise UserError(f"unknown name '{name}' in the configuration; allowed are {', '.join(allowed)}")
        if "method" not in document:
            raise UserError('the configuration names no method; add "method": "<slug>"')
        return cls(**document)


def read_config(path: Path) -> dict[str, Any]:
    """Return the request in a configuration file: a request itself, or the run.json of an earlier run.

    Raises:
        UserError: the file is missing or holds no JSON object.
    """
    try:
        document = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from None
    if not isinstance(document, dict):
        raise UserError(f"the configuration {path} holds no JSON object")
    return document.get("request", document)


@dataclass(frozen=True)
class Resolved:
    """A request with every choice made."""

    request: Request
    method: Method
    variant: Variant
    settings: MethodSettings
    data: "Dataset"
    device: str
    precision: str

    def phases(self) -> list[tuple[str, TrainSettings]]:
        """Return the method's training phases in the entry's order, epochs scaled."""
        found = [(name, getattr(self.settings, name)) for name in type(self.settings).model_fields]
        phases = [(name, value) for name, value in found if isinstance(value, TrainSettings)]
        return [(name, scaled(value, self.request.epochs_scale)) for name, value in phases]


def resolve(request: Request, data: "Dataset | None" = None) -> Resolved:
    """Check a request against entry, settings, data and machine, and make every choice.

    Args:
        request: what was asked.
        data: data in memory, in the place of the request's dataset.

    Raises:
        UserError: unknown method, a variant the entry lacks, an unknown setting, a value out of range, missing data.
    """
    from ..datasets import load_dataset
    from ..registry import entry as find_entry
    from ..registry import load_method

    method_class = load_method(request.method)
    variant = choose_variant(find_entry(request.method).document, request)
    settings = build_settings(method_class, request, variant)
    _check_objectives(settings)
    if request.eval not in ("none", "quick", "standard"):
        raise UserError(f"unknown evaluation '{request.eval}'; choose one of none, quick, standard")
    if not 0 < request.epochs_scale < float("inf"):  # also false for NaN
        raise UserError(f"--epochs-scale {request.epochs_scale} is not positive and finite; use e.g. 0.1 or 1")
    if request.seed < 0:
        raise UserError(f"seed {request.seed} is negative; use 0 or more")
    if request.from_checkpoint is not None and not Path(request.from_checkpoint).is_file():
        raise UserError(f"the checkpoint {request.from_checkpoint} does not exist; give --from the path of a file")
    if data is None:
        data = load_dataset(request.dataset, request.data_dir)
    device, precision = choose_device(request.device), request.precision
    if precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"unknown precision '{precision}'; choose one of auto, fp32, bf16")
    if precision == "auto":
        precision = "bf16" if computes_bf16(device) else "fp32"
    return Resolved(request, method_class(settings, variant), variant, settings, data, device, precision)


VARIANT_FIELDS = ("structure", "granularity", "schedule", "locality", "budget")


def choose_variant(document: Mapping[str, Any], request: Request) -> Variant:
    """Return the first implemented variant of the entry that has all that was asked for.

    Raises:
        UserError: no such variant; the sentence lists those there are.
    """
    variants = [v for v in document["implements"]["variants"] if v["status"] == "implemented"]
    asked = {name: value for name in VARIANT_FIELDS if (value := getattr(request, name)) is not None}
    for found in variants:
        if all(found[name] == value for name, value in asked.items()):
            known = {name: found[name] for name in Variant.__dataclass_fields__ if name in found}
            known["excluded_layers"] = tuple(found.get("excluded_layers", ()))
            known["phases"] = tuple(found.get("phases", ()))
            return Variant(**known)
    wish = ", ".join(f"{name} {value}" for name, value in asked.items())
    offer = "; ".join(", ".join(str(v[name]) for name in VARIANT_FIELDS) for v in variants)
    raise UserError(f"{request.method} has no implemented variant with {wish}; it has: {offer}")


def build_settings(method: type[Method], request: Request, variant: Variant | None = None) -> MethodSettings:
    """Return the method's settings: paper defaults, then the preset, then `--set`, then `--sparsity`.

    Args:
        method: the method's class.
        request: what was asked.
        variant: the chosen one, whose structure the preset may know; the request's structure where None.

    Raises:
        UserError: unknown preset or setting, or a value that the setting refuses.
    """
    presets = {"paper": {}, **method.presets}
    if request.preset not in presets:
        names = ", ".join(sorted({name.split(":")[0] for name in presets}))
        raise UserError(f"{request.method} has no preset '{request.preset}'; choose one of {names}")
    values: dict[str, Any] = {}
    dataset = request.dataset.split(":")[0]
    structure = request.structure if variant is None else variant.structure
    for part in ("", f":{structure}", f":{dataset}"):
        for suffix in (part, f"{part}:{request.arch}"):
            _merge(values, presets.get(request.preset + suffix, {}))
    for path, value in request.set.items():
        _assign(values, path, value, method.Settings)
    if request.sparsity is not None:
        values["sparsity"] = request.sparsity
    return _validate(method.Settings, values)


def _validate(settings: type[MethodSettings], values: Mapping[str, Any]) -> MethodSettings:
    from pydantic import ValidationError

    complete = settings().model_dump()
    _merge(complete, values)
    try:
        return settings.model_validate(complete)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if name == "sparsity":
            raise UserError(f"sparsity {first['input']} is out of range; use 0 <= sparsity < 1, e.g. 0.9") from None
        why = first["msg"].removeprefix("Value error, ")  # pydantic's, before a validator's own sentence
        raise UserError(f"setting {name} = {first['input']!r} is refused: {why}") from None


def _merge(into: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for name, value in overrides.items():
        if isinstance(value, TrainSettings):
            value = value.model_dump()
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _assign(values: dict[str, Any], path: str, value: Any, settings: type[MethodSettings]) -> None:
    *outer, last = path.split(".")
    known, where = dict(settings.model_fields), values
    for name in [*outer, last]:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UserError(f"unknown setting '{path}'{hint} (allowed here: {', '.join(known)})")
        inner = known[name].annotation
        known = dict(inner.model_fields) if isinstance(inner, type) and issubclass(inner, TrainSettings) else {}
    for name in outer:
        where = where.setdefault(name, {})
    where[last] = value


def _check_objectives(settings: MethodSettings) -> None:
    from ..registry import objectives

    known = sorted(objectives())
    for name in type(settings).model_fields:
        phase = getattr(settings, name)
        if isinstance(phase, TrainSettings) and phase.objective not in known:
            near = difflib.get_close_matches(phase.objective, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UserError(f"unknown objective '{phase.objective}' in {name}; choose one of {', '.join(known)}{hint}")


def choose_device(name: str) -> str:
    """Return `cpu` or `cuda` for `auto`, `cpu`, `cuda`.

    Raises:
        UserError: another name, or CUDA where there is none.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device '{name}'; choose one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda is not available here: torch sees no GPU; use --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def computes_bf16(device: str) -> bool:
    """Say whether `device` multiplies bfloat16 in hardware; CPUs that emulate it are slower than in float32."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch lack it
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
