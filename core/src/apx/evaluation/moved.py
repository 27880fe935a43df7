"""Attacks that keep the meaning of an image: small shifts, and occlusion by a square.

They leave every ball of small radius, so only the box [0, 1] is demanded of their images, and `--eps` means nothing to
them. Jordao & Pedrini (ICCV Workshops 2021) evaluate pruned networks by "semantic-preserving" changes of 4 and
occlusion of 16 pixels without defining either: what follows is a reconstruction.
"""

import itertools
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..randomness import keyed_uniform
from .attack import Attack, Crafted, Setting
from .progress import Work
from .samples import Batch

Places = Iterator[tuple[Tensor, Tensor]]
"""Rows and columns, int64 [B] each: one place per sample and try."""


class _Placed(Attack):
    """Changes an image at a place: one drawn per sample, or the first of all places that misleads the network."""

    bounded = False
    label: ClassVar[str]

    mode: Literal["random", "worst"] = "random"

    @property
    def name(self) -> str:
        """The kind of change and the mode."""
        return f"{self.label}-{self.mode}"

    def record(self, setting: Setting) -> dict[str, Any]:
        """Return the parameters; no radius is among them."""
        return self.model_dump()

    def craft(self, setting: Setting, batch: Batch) -> Crafted:
        """Return changed images; where no place misleads the network, those of the last one."""
        x_adv, left = batch.x, torch.ones(len(batch.y), dtype=torch.bool, device=batch.x.device)
        for rows, columns in self.places(setting, batch):
            changed = self.changed(batch.x, rows, columns)
            x_adv = torch.where(left[:, None, None, None], changed, x_adv)
            if self.mode == "worst":
                with torch.no_grad():
                    left &= setting.network(x_adv).argmax(dim=1) == batch.y
                if not bool(left.any()):
                    break
        return Crafted(x_adv)

    @abstractmethod
    def places(self, setting: Setting, batch: Batch) -> Places:
        """Return the places to try, one per sample and try."""

    @abstractmethod
    def changed(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return each image changed at its place, [B, C, H, W]."""

    def _drawn(self, setting: Setting, batch: Batch, counts: tuple[int, int]) -> Places:
        draw = keyed_uniform(setting.seed, f"evaluation-{self.label}", batch.indices, (2,))
        yield (draw[:, 0] * counts[0]).long(), (draw[:, 1] * counts[1]).long()

    def _all(self, batch: Batch, rows: range, columns: range) -> Places:
        like = batch.y
        for row, column in itertools.product(rows, columns):
            yield torch.full_like(like, row), torch.full_like(like, column)


class Shift(_Placed):
    """Translation by up to `delta` pixels in each direction, zeros at the border; `worst` tries all (2 delta + 1)^2."""

    label = "shift"

    delta: int = Field(4, ge=0, description="pixels")

    def work(self, classes: int) -> Work:
        """A pass for each place tried."""
        return Work(passes=1 + ((2 * self.delta + 1) ** 2 if self.mode == "worst" else 0), weight=1)

    def places(self, setting: Setting, batch: Batch) -> Places:
        """Offsets of the crop out of the padded image, 0 to 2 delta."""
        count = 2 * self.delta + 1
        if self.mode == "random":
            return self._drawn(setting, batch, (count, count))
        return self._all(batch, range(count), range(count))

    def changed(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Crop each image out of itself with `delta` zeros round it."""
        height, width = x.shape[-2:]
        padded = functional.pad(x, [self.delta] * 4)
        down = (rows[:, None] + torch.arange(height, device=x.device))[:, None, :, None]
        across = (columns[:, None] + torch.arange(width, device=x.device))[:, None, None, :]
        sample = torch.arange(len(x), device=x.device)[:, None, None, None]
        channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        return padded[sample, channel, down, across]


class Occlusion(_Placed):
    """A black square of `delta` x `delta` pixels inside the image; `worst` scans the places in steps of `stride`."""

    label = "occlusion"

    delta: int = Field(16, ge=0, description="pixels")
    stride: int = Field(4, ge=1, description="pixels between two places of the scan")

    def work(self, classes: int) -> Work:
        """A pass, or one for each place of a scan over a 32 x 32 image."""
        return Work(
            passes=1 + ((max(32 - self.delta, 0) // self.stride + 1) ** 2 if self.mode == "worst" else 0), weight=1
        )

    def places(self, setting: Setting, batch: Batch) -> Places:
        """Top left corners.

        Raises:
            UserError: the square does not fit into the image.
        """
        height, width = batch.x.shape[-2:]
        if self.delta > min(height, width):
            raise UserError(
                f"a square of {self.delta} pixels does not fit into images of {height}x{width}: take a smaller delta"
            )
        rows, columns = height - self.delta + 1, width - self.delta + 1
        if self.mode == "random":
            return self._drawn(setting, batch, (rows, columns))
        return self._all(batch, range(0, rows, self.stride), range(0, columns, self.stride))

    def changed(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Blacken the square of each image."""
        height, width = x.shape[-2:]
        down = torch.arange(height, device=x.device) - rows[:, None]
        across = torch.arange(width, device=x.device) - columns[:, None]
        inside = ((down >= 0) & (down < self.delta))[:, None, :, None] & ((across >= 0) & (across < self.delta))[
            :, None, None, :
        ]
        return x.masked_fill(inside, 0.0)
