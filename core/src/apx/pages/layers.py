"""How many weights of each layer a run has left, read from its file of weights alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Layer:
    """A convolution's or linear layer's weight tensor: its name, its entries, those that are not zero."""

    name: str
    weights: int
    kept: int

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return 1 - self.kept / self.weights


def layers_of(run: Path) -> tuple[Layer, ...]:
    """Return the layers of a run's network, convolutions before linear layers, numbers in names in their order.

    Raises:
        UserError: the run has no file of weights, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    file = run / _WEIGHTS
    if not file.is_file():
        raise UserError(f"{run} has no {_WEIGHTS}: the report needs the weights, so make the run again")
    found: list[tuple[bool, list[tuple[int, str]], Layer]] = []
    try:
        with safe_open(file, framework="np") as content:
            for name in content.keys():  # noqa: SIM118 - not a mapping
                tensor = content.get_tensor(name)
                if tensor.ndim in (2, 4) and name.endswith("weight"):
                    layer = Layer(name.removesuffix(".weight"), tensor.size, int((tensor != 0).sum()))
                    found.append((tensor.ndim == 2, _natural(name), layer))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}): make the run again") from error
    return tuple(layer for _, _, layer in sorted(found, key=lambda one: one[:2]))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key in which layer 10 comes after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
