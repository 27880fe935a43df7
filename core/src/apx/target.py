"""Open what a user points at, a run directory, a checkpoint or a model key, as a network with its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError
from .runs import RECORD, RunFolder, open_run
from .zoo.keys import looks_like_key, read_key

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .datasets import Dataset

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Made:
    """How a network was made; None where neither the file nor the user says.

    `zoo` is where the file of a model key is: a folder or `hf:owner/name` (`apx.zoo.source_of`).
    """

    arch: str | None = None
    dataset: str | None = None
    width: int | None = None
    data_dir: str | None = None
    normalise: bool | None = None
    zoo: str | None = None


@dataclass(frozen=True)
class Opened:
    """A network with its weights, in eval mode on the CPU, the data it was made for, and what is known of it.

    `facts` are the fields of a results document's target (`apx.evaluation.Target`).
    """

    module: nn.Module
    data: Dataset
    made: Made
    facts: Mapping[str, Any]
    channels: str | None = None
    """Of a shrunk network: the sizes of its layers, as its file notes them."""

    def example(self, images: int = 64) -> Tensor:
        """Return validation images, float [<= images, C, H, W] in [0, 1], to trace the network with."""
        from .datasets import to_float

        return to_float(self.data.val.images[:images])

    def with_weights(self, state: Mapping[str, Tensor]) -> Opened:
        """Return the same network with other weights, of which no method and no sparsity is known."""
        self.module.load_state_dict(state)
        return replace(self, facts={**self.facts, "method": None, "sparsity": {"reported": 0.0}})

    def metadata(self) -> dict[str, str]:
        """Return what an exported file records, so that `open_target` can open it again."""
        from .export import CHANNELS

        recorded = {name: getattr(self.made, name) for name in ("arch", "dataset", "width", "normalise")}
        recorded["method"] = self.facts["method"]
        recorded[CHANNELS] = self.channels
        return {name: str(value) for name, value in recorded.items() if value is not None}


def open_target(path: Path, given: Made | None = None) -> Opened:
    """Open a run directory, or a checkpoint whose architecture and data are recorded in it or `given`.

    Args:
        path: a run directory, its `model.safetensors`, any safetensors or PyTorch file of weights,
            `py:module:factory`, which makes the network with its weights, or the key of a published network
            (`apx.load_model`).
        given: what the user says; it wins over what is recorded.

    Raises:
        UserError: there is no such thing, the run has not ended, the file does not say how the network was made,
            or its tensors do not fit.
    """
    if str(path).startswith("py:"):
        return _made_by_factory(str(path), given or Made())
    if looks_like_key(str(path)) and not path.exists():
        return _published(str(path), given or Made())
    run = _run_of(path)
    weights = run.path / WEIGHTS if run is not None else path
    if run is not None and not weights.is_file():
        raise UserError(f"the run {run.path} has not ended: finish it with `apx run --resume {run.path}` first")
    if not weights.is_file():
        raise UserError(f"there is no run directory or checkpoint {path}, and it is no model key")
    metadata = _metadata(weights)
    made = _complete(given or Made(), _recorded(run, metadata))
    return _open(weights, made, run, metadata)


def _made_by_factory(name: str, given: Made) -> Opened:
    from .datasets import load_dataset
    from .masks import reported_sparsity

    if given.dataset is None:
        raise UserError(f"{name} does not say for which data it was made: give --dataset")
    data, made = load_dataset(given.dataset, given.data_dir), replace(given, arch=name)
    module = _built(name, data, made)
    facts = {"target": name, "method": None, "arch": name, "dataset": made.dataset, "selected_on": None}
    return Opened(module.eval(), data, made, {**facts, "sparsity": {"reported": reported_sparsity(module)}})


def _published(text: str, given: Made) -> Opened:
    from apx_taxonomy.model_key import DATASETS

    from .datasets import load_dataset
    from .memory_format import lay_out
    from .zoo.model import CLASSES, open_model

    try:
        key = read_key(text)
    except UserError as error:
        raise UserError(f"there is no run directory or checkpoint {text}, and {error}") from None
    if given.width is not None:
        raise UserError(f"{key} is a network of its paper's width: leave --width out")
    dataset = given.dataset or DATASETS[key.dataset]
    data = load_dataset(dataset, given.data_dir)
    if (data.num_classes, data.image_shape[0]) != (CLASSES, 3):
        raise UserError(f"{key} tells {CLASSES} classes of colour images apart, {dataset} is not such data")
    found = open_model(key, zoo=given.zoo)
    if given.arch not in (None, found.arch):
        raise UserError(f"{key} is a {found.arch}, not a {given.arch}: leave --arch out")
    lay_out(found.module)
    made = Made(found.arch, dataset, data_dir=given.data_dir, zoo=given.zoo)
    return Opened(found.module, data, made, {**found.target_facts(), "dataset": dataset})


def _built(arch: str, data: Dataset, made: Made) -> nn.Module:
    from .architectures import build

    channels, height, _ = data.image_shape
    return build(
        arch,
        num_classes=data.num_classes,
        in_channels=channels,
        image_size=height,
        width=made.width,
        normalisation=data.normalisation if made.normalise else None,
    )


def _open(weights: Path, made: Made, run: RunFolder | None, metadata: Mapping[str, str]) -> Opened:
    from .datasets import load_dataset
    from .export import CHANNELS, load_into
    from .masks import reported_sparsity
    from .memory_format import lay_out
    from .quantisation.files import NOTE, load_quantised

    data = load_dataset(_known(made.dataset, "dataset", weights), made.data_dir)
    module = _built(_known(made.arch, "arch", weights), data, made)
    if NOTE in metadata:
        load_quantised(weights, module)
    else:
        load_into(module, weights)
    facts = {
        "target": str(run.path if run is not None else weights),
        "method": metadata.get("method") or None,
        "arch": made.arch,
        "dataset": made.dataset,
        "selected_on": ((run.report or {}) if run is not None else {}).get("selected_on"),
        "sparsity": _sparsity(run, reported_sparsity(module)),
    }
    lay_out(module)
    return Opened(module.eval(), data, made, facts, metadata.get(CHANNELS))


def _sparsity(run: RunFolder | None, reported: float) -> dict[str, Any]:
    recorded = ((run.report or {}) if run is not None else {}).get("sparsity", {})
    return {"reported": reported, "requested": recorded.get("requested"), "unit": recorded.get("unit")}


def _run_of(path: Path) -> RunFolder | None:
    """Return the run that `path` is, or whose result it is."""
    if path.is_dir():
        return open_run(path)
    if path.name == WEIGHTS and (path.parent / RECORD).is_file():
        return open_run(path.parent)
    return None


def _metadata(weights: Path) -> dict[str, str]:
    from .export import read_metadata

    return read_metadata(weights)


def _recorded(run: RunFolder | None, metadata: Mapping[str, str]) -> Made:
    if run is not None:
        request, settings = run.request, run.record.get("settings", {})
        return Made(
            request.get("arch"),
            request.get("dataset"),
            request.get("width"),
            request.get("data_dir"),
            settings.get("normalise"),
        )
    width = metadata.get("width")
    return Made(
        metadata.get("arch"),
        metadata.get("dataset"),
        int(width) if width else None,
        normalise={"True": True, "False": False}.get(metadata.get("normalise", "")),
    )


def _complete(given: Made, recorded: Made) -> Made:
    names = Made.__dataclass_fields__
    chosen = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    return replace(recorded, **chosen)


def _known(value: str | None, name: str, weights: Path) -> str:
    if value is None:
        raise UserError(f"{weights} does not say with which {name} it was made: give --{name}")
    return value
