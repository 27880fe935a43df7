"""A network by its key: its file found or downloaded, its layout recognised, the result compared with the key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from apx_taxonomy.model_key import DATASETS, SPARSITIES, ModelKey

from ..architectures import BUILTIN, build
from ..architectures.normalisation import Normalisation, normalisation_of
from ..errors import UserError
from ..export import load_into, read_checkpoint, read_metadata
from ..masks import PRUNABLE, reported_sparsity
from .downloads import obtain
from .keys import method_of, read_key
from .record import Record
from .sources import Source, source_of

CLASSES = 10
"""Of every data set that a key can name."""
_REMARKABLE = 0.02
_NEAR = 0.05
"""How far below its key's sparsity a network may be: layers that its method leaves dense."""


@dataclass(frozen=True)
class ZooModel:
    """A network of the zoo, in eval mode, and what is known of it.

    Attributes:
        key: its key, with the method spelt as in the taxonomy.
        module: the network; images [B, 3, 32, 32] in [0, 1] to logits [B, 10], normalisation inside.
        arch: the network that the file holds; an R18 is one of two, a V16 one of four (`ModelKey.networks`).
        sparsity: zeros over all convolution and linear weights, counted.
        layout: the form that the checkpoint had, in words.
        normalisation: what the network does to its input first, None for nothing.
        normalisation_source: who says so: the `file`, the `method`'s code, or `none`.
        notes: what else is to be known, in sentences.
        file: where the checkpoint lies.
        origin: where it came from, in words.
    """

    key: ModelKey
    module: nn.Module
    arch: str
    sparsity: float
    layout: str
    normalisation: Normalisation | None
    normalisation_source: str
    notes: tuple[str, ...]
    file: Path
    origin: str

    @property
    def method(self) -> str:
        """The slug of its method."""
        return method_of(self.key)

    @property
    def dataset(self) -> str:
        """The name of the data that its key says it was made for."""
        return DATASETS[self.key.dataset]

    def target_facts(self) -> dict[str, Any]:
        """Return the fields of a results document's target (`apx.evaluation.Target`)."""
        unit = "weights" if self.key.structure == "US" else None  # of S the key does not say whether filters, channels
        return {
            "target": str(self.key),
            "method": self.method,
            "arch": self.arch,
            "dataset": self.dataset,
            "selected_on": None,
            "sparsity": {"reported": self.sparsity, "requested": self.key.sparsity / 100, "unit": unit},
        }

    def metadata(self) -> dict[str, str]:
        """Return what a safetensors file of it records, so that `apx.target.open_target` can open it."""
        return {"arch": self.arch, "dataset": self.dataset, "method": self.method, "key": str(self.key)}

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the network, as plain JSON values."""
        normalisation = None if self.normalisation is None else asdict(self.normalisation)
        facts = {name: getattr(self, name) for name in ("arch", "sparsity", "layout", "normalisation_source", "origin")}
        return {
            "key": str(self.key),
            "method": self.method,
            "dataset": self.dataset,
            **facts,
            "normalisation": normalisation,
            "notes": list(self.notes),
            "file": str(self.file),
        }


def load_model(
    key: ModelKey | str,
    *,
    file: Path | str | None = None,
    zoo: Source | Path | str | None = None,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Return a published network by its key, in eval mode, its input normalisation inside.

    The checkpoint is downloaded once, recognised by the names and shapes of its tensors, converted strictly into one
    of apx's architectures, and compared with the key: architecture, and zeros among the weights. Nothing in the file
    is executed. `open_model` also tells what was found.

    Args:
        key: such as `HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90`; `apx zoo list` shows all.
        file: a checkpoint of one's own in place of the zoo's.
        zoo: a folder or `hf:owner/name`; see `apx.zoo.source_of`. None is APX_ZOO, else Google Drive.
        device: where the network is put.

    Returns:
        A module that maps images float32 [B, 3, 32, 32] in [0, 1] to logits [B, 10].

    Raises:
        UserError: there is no such key or no checkpoint of it, it cannot be downloaded, its layout is not known, or
            it is not what the key says.
    """
    return open_model(key, file=file, zoo=zoo, device=device).module


def open_model(
    key: ModelKey | str,
    *,
    file: Path | str | None = None,
    zoo: Source | Path | str | None = None,
    device: torch.device | str = "cpu",
    any_sparsity: bool = False,
) -> ZooModel:
    """Return a published network by its key with what is known of it; see `load_model`.

    Args:
        key, file, zoo, device: see `load_model`.
        any_sparsity: take a file whose zeros do not fit the key, with a note that says so.

    Raises:
        UserError: see `load_model`.
    """
    wanted = read_key(key)
    if file is not None:
        return _opened(Path(file), wanted, None, "a file of one's own", device, any_sparsity)
    source = source_of(zoo)
    refused: list[str] = []
    for found in source.offers(wanted, "checkpoint"):
        try:
            path = obtain(source, found)
            return _opened(path, found.key, found.record, source.title, device, any_sparsity)
        except UserError as error:
            refused.append(str(error))
    if len(refused) == 1:
        raise UserError(refused[0])
    raise UserError(f"none of the {len(refused)} files offered for {wanted} is it: {'; and '.join(refused)}")


def check_network(key: ModelKey, arch: str, module: nn.Module, what: str, *, any_sparsity: bool = False) -> list[str]:
    """Compare a network with its key, and return notes on what is unusual.

    The architecture must be one of `key.networks`. The zeros must fit the percentage of the key better than the next
    one. Methods count differently, so one of two counts has to fit: zeros of all convolution and linear weights, or of
    the convolutions alone; and under S keys, where the percentage may be of filters, of which the weights that read
    their outputs are removed with them, anything up to 1 - (1 - p)^2 does.

    Args:
        key: the key.
        arch: the architecture of `module`.
        module: the network, masks folded in.
        what: names the network in the error, as "the file x.pt".
        any_sparsity: note zeros that do not fit in place of refusing them.

    Raises:
        UserError: the network is not what the key says.
    """
    everywhere, convolutions = reported_sparsity(module), _sparsity_of_convolutions(module)
    holds = f"{what} holds a {arch} with {everywhere:.1%} of its weights zero"
    if arch not in key.networks:
        raise UserError(f"{holds}, which is not {key}: {key.arch} is one of {', '.join(key.networks)}")
    lowest, highest = _fitting(key)
    if lowest <= everywhere <= highest:
        far = abs(everywhere - key.sparsity / 100) > _REMARKABLE
        return [f"{everywhere:.1%} of the weights are zero, the key says {key.sparsity}%"] if far else []
    if lowest <= convolutions <= highest:
        return [f"{convolutions:.1%} of the convolutions' weights are zero, {everywhere:.1%} with the linear layers'"]
    said = f"{holds}, which is not {key}: {lowest:.1%} to {highest:.1%} would fit it"
    if any_sparsity:
        return [said]
    raise UserError(f"{said}; if it is the right file all the same, load it with --any-sparsity")


def _fitting(key: ModelKey) -> tuple[float, float]:
    """Return the least and the largest share of zeros that fits a key; bounds between US keys lie half way."""
    share = key.sparsity / 100
    if key.structure == "S":
        return share - _NEAR, 1 - (1 - share) ** 2 + _NEAR / 10
    others = [other / 100 for other in SPARSITIES["US"]]
    below = [(share + other) / 2 for other in others if other < share]
    above = [(share + other) / 2 for other in others if other > share]
    return max([share - _NEAR, *below]), min([1.0, *above])


def _sparsity_of_convolutions(module: nn.Module) -> float:
    weights = [layer.weight for layer in module.modules() if isinstance(layer, PRUNABLE) and layer.weight.dim() > 2]
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0


def _opened(
    path: Path, key: ModelKey, record: Record | None, origin: str, device: torch.device | str, any_sparsity: bool
) -> ZooModel:
    notes = read_metadata(path) if path.is_file() else {}
    if record is not None:
        found = _Found(record.arch, record.layout, record.normalisation_source, record.notes)
        module = _own(path, record.arch, record.normalisation)
    elif arch := notes.get("arch"):  # apx wrote it: its tensors alone would not tell the kind of the last pool
        module = _own(path, arch)
        source = "none" if normalisation_of(module) is None else "file"
        found = _Found(arch, "written by apx", source, ())
    else:
        found, module = _others(path, key)
    compared = check_network(key, found.arch, module, f"the file {path}", any_sparsity=any_sparsity)
    return ZooModel(
        key=key,
        module=module.to(device).eval(),
        arch=found.arch,
        sparsity=reported_sparsity(module),
        layout=found.layout,
        normalisation=normalisation_of(module),
        normalisation_source=found.normalisation_source,
        notes=(*found.notes, *compared),
        file=path,
        origin=origin,
    )


@dataclass(frozen=True)
class _Found:
    """What a file turned out to be."""

    arch: str
    layout: str
    normalisation_source: str
    notes: tuple[str, ...]


def _own(path: Path, arch: str, normalisation: Normalisation | None = None) -> nn.Module:
    """Return the network of a file that holds the state of one of apx's architectures and says of which."""
    if arch not in BUILTIN:
        raise UserError(f"{path} says that it is a {arch}, which is not one of {', '.join(BUILTIN)}")
    module = build(arch, num_classes=CLASSES, normalisation=normalisation)
    load_into(module, path)
    return module


def _others(path: Path, key: ModelKey) -> tuple[_Found, nn.Module]:
    """Return the network of a checkpoint that a method's own code wrote."""
    from .layouts import convert

    converted = convert(
        read_checkpoint(path), sparsity=key.sparsity / 100, method=method_of(key), dataset=DATASETS[key.dataset]
    )
    module = build(converted.arch, num_classes=converted.num_classes, normalisation=converted.normalisation)
    module.load_state_dict(converted.state)
    found = _Found(converted.arch, converted.layout, converted.normalisation_source, tuple(converted.notes))
    return found, module
