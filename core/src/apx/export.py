"""Weights out and in: files that plain PyTorch opens without apx, and checkpoints read without running code."""

import argparse
import io
import json
import pickle
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .architectures.normalisation import Normalisation, normalisation_of, normalise_inputs
from .errors import UserError
from .paths import atomic_write
from .shrinking import ShrinkReport, resize
from .shrinking import shrink as shrunk
from .state_file import STATE, save_tensors

Format = Literal["safetensors", "torch", "onnx"]
FORMATS = ("safetensors", "torch", "onnx")
CHANNELS = "apx_channels"
"""Safetensors metadata: JSON, layer name -> [outputs, inputs] of a shrunk network."""
_NORMALISATION = "apx_normalisation"  # likewise: mean and std of the input, which no state dict holds
_NESTED = ("state_dict", "model_state_dict", "model", "net", "state")  # where training scripts put the weights


def export_state(
    path: Path | str,
    module: nn.Module,
    to: Format = "safetensors",
    *,
    shrink: bool = False,
    example_input: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ShrinkReport | None:
    """Write a network's weights to `path`, atomically; return what shrinking did, None without it.

    * `safetensors`: the state dict, with `metadata`. Of a shrunk network the metadata also holds `apx_channels`,
      the sizes of the layers that changed, and of one that normalises its inputs `apx_normalisation`, mean and std;
      `load_into` restores both.
    * `torch`: the state dict for `torch.load(path, weights_only=True)`. A shrunk network fits no constructor, so it
      becomes a program: `torch.export.load(path).module()` runs it, any batch size, without apx and without the
      class it came from. Its weights are raw tensors, nothing is pickled.
    * `onnx`: see `apx.onnx_export.export_onnx`.

    Args:
        path: the file.
        module: a plain network, masks folded in; it is not changed.
        to: `safetensors`, `torch` or `onnx`.
        shrink: remove dead filters physically first (`apx.shrink`).
        example_input: images [B, C, H, W], needed to shrink, and for ONNX.
        metadata: text stored with the weights (not in PyTorch files).

    Raises:
        UserError: an unknown format, no example where one is needed, a network that cannot be shrunk exactly or
            exported, or one of 8 bits.
    """
    from .quantisation.simulation import is_quantised

    path = Path(path)
    if is_quantised(module):
        raise UserError("a network of 8 bits is in the file that `apx quantize --out` wrote: export the float32 one")
    if to not in FORMATS:
        raise UserError(f"unknown format '{to}': choose one of {', '.join(FORMATS)}")
    if example_input is None and (shrink or to == "onnx"):
        why = "shrinking needs an example input, to see which filters emit zero"
        raise UserError(why if shrink else "ONNX needs an example input, to trace the network")
    if not shrink:
        if to == "onnx":
            _write_onnx(path, module, example_input, metadata)
        else:
            _write_state(path, module, to, dict(metadata or {}))
        return None
    assert example_input is not None
    report = shrunk(module, example_input)
    if to == "onnx":
        _write_onnx(path, report.module, example_input, metadata)
    elif to == "torch":
        atomic_write(path, _program(report.module, example_input))
    else:
        earlier = json.loads((metadata or {}).get(CHANNELS, "{}"))  # of a network that was shrunk before
        _write_state(
            path, report.module, to, {**(metadata or {}), CHANNELS: json.dumps({**earlier, **report.channels})}
        )
    return report


def load_into(module: nn.Module, path: Path | str) -> None:
    """Load a checkpoint into `module`, strictly.

    What `export_state` noted beside the weights is restored first: the sizes of a shrunk network's layers, and the
    normalisation of its inputs unless the module has one.

    Raises:
        UserError: `load_checkpoint` refused the file, or its tensors do not fit the module.
    """
    state = load_checkpoint(path)
    notes = read_metadata(path)
    if channels := notes.get(CHANNELS):
        resize(module, {name: (size[0], size[1]) for name, size in json.loads(channels).items()})
    if (statistics := notes.get(_NORMALISATION)) and normalisation_of(module) is None:
        found = {name: tuple(values) for name, values in json.loads(statistics).items()}
        normalise_inputs(module, Normalisation(**found), len(found["mean"]))
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        fault = misfit(module, state) or str(error)
        raise UserError(f"the checkpoint {path} does not fit {type(module).__name__}: {fault}") from error


def misfit(module: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """Name the first tensor that a state dict lacks, has beyond the module's or in another shape; None if all fit."""
    own = module.state_dict()
    faults = [f"it lacks {name}" for name in own if name not in state]
    faults += [f"the network has no {name}" for name in state if name not in own]
    faults += [
        f"{name} has shape {list(state[name].shape)}, the network's {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if not faults:
        return None
    return faults[0] if len(faults) == 1 else f"{faults[0]} (the first of {len(faults)} tensors that differ)"


def load_checkpoint(path: Path | str) -> dict[str, Tensor]:
    """Return the state dict in a file, on the CPU, without running code from it.

    Reads safetensors, and what `torch.load(weights_only=True)` reads when argparse namespaces and numpy scalars,
    which training scripts leave beside the weights, are allowed. The weights may sit under `state_dict` or `model`;
    the `module.` prefix of data-parallel training is dropped.

    Raises:
        UserError: there is no such file, it is neither format, it would run code, or it holds no weights of a network.
    """
    state = _state_dict(read_checkpoint(path), Path(path))
    if STATE in read_metadata(path):
        raise UserError(
            f"{path} is a phase's end, from which a run is resumed, and no network: "
            "give the run directory, or its model.safetensors"
        )
    return state


def read_checkpoint(path: Path | str) -> object:
    """Return what a safetensors or PyTorch file holds, as it was saved, without running code from it.

    Raises:
        UserError: there is no such file, it is neither, it is damaged, or it would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    if _is_safetensors(path):
        return _read_safetensors(path)
    if _is_torch(path):
        return _read_torch(path)
    raise UserError(f"{path} is no checkpoint: it is neither safetensors nor written by torch.save")


def read_metadata(path: Path | str) -> dict[str, str]:
    """Return the text stored in a safetensors file; empty for any other file."""
    from safetensors import safe_open

    if not _is_safetensors(Path(path)):
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def _write_onnx(path: Path, module: nn.Module, example: Tensor | None, metadata: Mapping[str, str] | None) -> None:
    from .onnx_export import export_onnx

    assert example is not None
    export_onnx(path, module, example, metadata or {})


def _write_state(path: Path, module: nn.Module, to: Format, metadata: dict[str, str]) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    if to == "safetensors":
        if normalisation := normalisation_of(module):
            metadata = {**metadata, _NORMALISATION: json.dumps(asdict(normalisation))}
        save_tensors(path, state, metadata)
    else:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        atomic_write(path, buffer.getvalue())


def _program(module: nn.Module, example: Tensor) -> bytes:
    """Return the exported program of a network in eval mode, its batch size left open."""
    pair = torch.cat([example[:1], example[:1]])  # a batch of one would be taken for a constant
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module.eval(), (pair,), dynamic_shapes=dynamic)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _is_safetensors(path: Path) -> bool:
    """Tell by content: 8 bytes of header length, then the JSON header."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _is_torch(path: Path) -> bool:
    """Tell by content: a zip archive, or the pickle that PyTorch wrote before 1.6."""
    with path.open("rb") as file:
        start = file.read(4)
    return start == b"PK\x03\x04" or start[:1] == b"\x80"


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"the checkpoint {path} is damaged: {error}") from error


def _read_torch(path: Path) -> object:
    with _allowed():
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"refused to load {path}: {_reason(error)}; loading it could run code, "
                "so save its state dict alone and load that"
            ) from error
        except (RuntimeError, EOFError, OSError, ValueError, LookupError, AssertionError, struct.error) as error:
            raise UserError(f"the checkpoint {path} is damaged or cut off ({type(error).__name__})") from error


@contextmanager
def _allowed() -> Iterator[None]:
    import _codecs

    import numpy as np
    from numpy._core.multiarray import scalar

    kinds: list[Any] = [type(np.dtype(code)) for code in ("?", "b", "B", "h", "H", "i", "I", "l", "L", "e", "f", "d")]
    # numpy 1 pickled its scalars under another module name
    names: list[Any] = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds, _codecs.encode]
    with torch.serialization.safe_globals([argparse.Namespace, *names]):
        yield


def _reason(error: Exception) -> str:
    """Return what the file wanted that is not allowed, from torch's message of many lines."""
    for line in str(error).splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            return line.split("WeightsUnpickler error:")[-1].strip().split(" was not an allowed")[0]
    return str(error).splitlines()[0]


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    found = content
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise UserError(f"{path} holds no state dict: expected names with tensors, or that under 'state_dict'")
    state = {str(name): tensor for name, tensor in found.items()}
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state
