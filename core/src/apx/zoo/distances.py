"""Minimum-norm distances by key, read without running anything that the file asks for."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apx_taxonomy.model_key import ModelKey

from ..errors import UserError
from ..paths import atomic_write
from .downloads import obtain
from .keys import read_key
from .sources import Source, source_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Distances = NDArray[np.float64]

NAME = "distances"
"""Of the tensor in a safetensors file of distances."""
_DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    *(EOFError, ValueError, TypeError, LookupError, RuntimeError, AttributeError, AssertionError),
)
"""What unpickling raises of a file that is cut off or altered."""
_LARGEST = 64 * 2**20  # bytes; 10,000 tensors of one number take about 3 MB


def load_distances(
    key: ModelKey | str, *, file: Path | str | None = None, zoo: Source | Path | str | None = None
) -> Distances:
    """Return the Linf distances of a published network by its key, one per attacked test image, in their order.

    They are of the benchmark's HO-FMN attack, on 128 images unless the file says otherwise by its length. **A distance
    of 0 has two meanings** in the benchmark's files, which nothing in them tells apart: the image was misclassified
    without any attack, or the attack found nothing and gave back the clean image. So the share of zeros is not the
    clean error, and zeros are neither surely broken nor surely robust; apx's own evaluations write infinity where an
    attack finds nothing.

    Args:
        key: such as `HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90`; `apx zoo info KEY` says whether it has distances.
        file: a file of one's own in place of the zoo's: the benchmark's pickle of a list, or safetensors.
        zoo: a folder or `hf:owner/name`; see `apx.zoo.source_of`. None is APX_ZOO, else Google Drive.

    Returns:
        Array float64 [n], in units of images in [0, 1].

    Raises:
        UserError: there is no such key or no distances of it, they cannot be downloaded, or the file holds anything
            but numbers, of which nothing was executed.
    """
    wanted = read_key(key)
    if file is not None:
        return read_distances(Path(file))
    source = source_of(zoo)
    (found,) = source.offers(wanted, "distances")
    return read_distances(obtain(source, found))


def read_distances(path: Path) -> Distances:
    """Return the distances in a file, float64 [n].

    Raises:
        UserError: there is no such file, it is neither a pickled list of numbers nor safetensors, or it is damaged.
    """
    if not path.is_file():
        raise UserError(f"there is no file of distances {path}")
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path} is too large for distances: it has {path.stat().st_size:,} bytes")
    content = path.read_bytes()
    if content[8:9] == b"{":
        return _from_safetensors(content, path)
    if content[:1] != b"\x80":
        raise UserError(f"{path} holds no distances: it is neither a pickled list nor safetensors")
    return _numbers(_unpickled(content, path), path)


def save_distances(path: Path, distances: Iterable[float]) -> None:
    """Write distances as safetensors, as zoos hold them: one float64 tensor `distances`; infinity is allowed."""
    import numpy as np
    from safetensors.numpy import save

    atomic_write(path, save({NAME: np.array([float(one) for one in distances], dtype=np.float64)}))


def summary(distances: Distances) -> dict[str, Any]:
    """Return how many distances there are, are zero and are infinite, and their median (None where it is infinite)."""
    import numpy as np

    median = float(np.median(distances))
    return {
        "n": len(distances),
        "median": median if np.isfinite(median) else None,
        "zeros": int((distances == 0).sum()),
        "infinite": int(np.isinf(distances).sum()),
    }


def _from_safetensors(content: bytes, path: Path) -> Distances:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except SafetensorError as error:
        raise UserError(f"the file {path} is damaged: {error}") from error
    if NAME not in tensors or tensors[NAME].ndim != 1:
        raise UserError(f"{path} holds no distances: a tensor '{NAME}' of one dimension is expected")
    return tensors[NAME].astype(np.float64)


def _unpickled(content: bytes, path: Path) -> object:
    try:
        return _Restricted(io.BytesIO(content)).load()
    except _ForbiddenError as error:
        raise UserError(
            f"refused to read {path}: it asks for {error}, and a file of distances is numbers and torch tensors alone; "
            "reading it could run code"
        ) from error
    except _DAMAGED as error:
        raise UserError(f"the file {path} is damaged or cut off ({type(error).__name__})") from error


def _numbers(content: object, path: Path) -> Distances:
    import numpy as np
    from torch import Tensor

    if isinstance(content, Tensor):
        content = list(content)
    single = isinstance(content, list) and all(
        one.numel() == 1 if isinstance(one, Tensor) else isinstance(one, int | float) and not isinstance(one, bool)
        for one in content
    )
    if not isinstance(content, list) or not content or not single:
        raise UserError(f"{path} holds no distances: a list of numbers or of tensors of one number is expected")
    return np.array([float(one) for one in content], dtype=np.float64)


class _ForbiddenError(Exception):
    """A pickle asked for something that is not on the list."""


class _Restricted(pickle.Unpickler):
    """Knows only how torch puts tensors together; their storages are read by torch without running code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few allowed functions."""
        found = _allowed().get((module, name))
        if found is None:
            raise _ForbiddenError(f"{module}.{name}")
        return found


def _allowed() -> dict[tuple[str, str], Callable[..., Any]]:
    from torch import _utils

    return {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor"): _utils._rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): _storage,
    }


def _storage(content: bytes) -> object:
    """Read a storage, which sits in the pickle as a torch file of its own: torch's function would unpickle anything."""
    import torch

    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _ForbiddenError(f"something inside a tensor ({' '.join(str(error).split())[:80]}...)") from error
