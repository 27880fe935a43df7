"""Nested state (tensors, numbers, text) in one safetensors file: no pickle, written atomically.

Tensors go into the file under running numbers; the nesting goes into its metadata as JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .paths import atomic_write

STATE = "apx_state"  # the metadata's key


def save_state(path: Path, state: Any) -> None:
    """Write `state` (dicts, lists, tuples, numbers, strings, booleans, None, tensors) to `path` atomically.

    Raises:
        TypeError: `state` holds something else.
    """
    atomic_write(path, encode_state(state))


def encode_state(state: Any) -> bytes:
    """Return the content of a file that `load_state` reads.

    Raises:
        TypeError: see `save_state`.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_encode(state, tensors))
    return save(tensors, metadata={STATE: skeleton})


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write plain named tensors as safetensors, atomically; any reader of the format opens the file."""
    from safetensors.torch import save

    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    atomic_write(path, save(plain, metadata=dict(metadata or {})))


def load_state(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read what `save_state` wrote, tensors on `device`."""
    from safetensors import safe_open

    with safe_open(path, framework="pt", device=str(device)) as file:
        skeleton = json.loads(file.metadata()[STATE])
        return _decode(skeleton, file)


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = str(len(tensors))
        # contiguous copies: safetensors refuses shared or strided storage (channels-last weights)
        tensors[key] = value.detach().to("cpu", copy=True).contiguous()
        return {"t": key}
    if isinstance(value, dict):
        return {"d": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"l" if isinstance(value, list) else "u": [_encode(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot store a {type(value).__name__} in a checkpoint")


def _decode(value: Any, file: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "t":
        return file.get_tensor(content)
    if kind == "d":
        return {_decode(k, file): _decode(v, file) for k, v in content}
    items = [_decode(item, file) for item in content]
    return items if kind == "l" else tuple(items)
