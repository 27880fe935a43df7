"""What a checkpoint holds, as it was saved: the wrapper and all that lies beside the weights."""

from __future__ import annotations

import struct
from pathlib import Path

from ..errors import UserError
from ..export import _is_safetensors, _is_torch, _read_safetensors, _read_torch


def read_checkpoint(path: Path) -> object:
    """Return the content of a safetensors file, or of a PyTorch file read without running code from it.

    Raises:
        UserError: there is no such file, it is neither, it is damaged, or it would run code.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    if _is_safetensors(path):
        return _read_safetensors(path)
    if _is_torch(path):
        try:
            return _read_torch(path)
        except (AssertionError, struct.error) as error:  # torch's own, of files of its old format that are cut off
            raise UserError(f"the checkpoint {path} is damaged or cut off ({type(error).__name__})") from error
    raise UserError(f"{path} is no checkpoint: it is neither safetensors nor written by torch.save")
