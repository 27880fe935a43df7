"""Write a figure to a file whose suffix says what kind."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_format(path: Path, allowed: Sequence[str]) -> str:
    """Return the suffix of a figure's file, in lower case, without the dot.

    Raises:
        UserError: it is none of `allowed`, or there is no such folder.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in allowed:
        kinds = ", ".join(f".{kind}" for kind in allowed)
        raise UserError(f"cannot write a figure to {path}: its name must end in one of {kinds}")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for {path.name}: make it, or choose another --out")
    return suffix


def png(figure: Figure) -> bytes:
    """Return a figure as PNG on white, 200 dots per inch."""
    return _saved(figure, "png", dpi=200)


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG on white, the same bytes for the same figure."""
    from matplotlib import rc_context

    from .style import MATPLOTLIB

    with rc_context(MATPLOTLIB):  # how text is written is read when the file is made
        return _saved(figure, "svg", metadata={"Date": None})


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, facecolor="white", **options)
    return file.getvalue()


WRITERS = {"png": png, "svg": svg}
"""How a matplotlib figure becomes the bytes of each kind of file."""
