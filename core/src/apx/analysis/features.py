"""How far adversarial examples move what a network computes, layer by layer.

The probe of the repository Kahsolt/adversarial-prune (2022; no paper): with F the features of an image at a tap and d
their difference for the image's adversarial example, report how large d is and how the values of both are distributed.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..attacks import frozen
from ..errors import UserError
from .moments import ChannelSums, Moments, MomentSums
from .taps import first_convolution, recording

_Maps = dict[str, Tensor]


@dataclass(frozen=True)
class LayerShift:
    """The shift at one tap, over all images and units.

    Args:
        layer: the module's name, or `logits`.
        shape: shape of one image's features.
        mean_abs: mean of |d|.
        max_abs: largest |d|.
        relative: ||d||_2 / ||F(x)||_2; None where F(x) is zero.
        above: share of units with |d| above the threshold.
        clean: moments of F(x).
        adversarial: moments of F(x_adv).
    """

    layer: str
    shape: tuple[int, ...]
    mean_abs: float
    max_abs: float
    relative: float | None
    above: float
    clean: Moments
    adversarial: Moments


@dataclass(frozen=True)
class FeatureShift:
    """The shift at every tap, in the order of the pass, and per channel of the first convolution.

    `channels` holds, for each channel, min, max, mean and std of `difference`, `clean` and `adversarial`; it is empty
    where the network has no convolution, and `stem` is then None.
    """

    layers: tuple[LayerShift, ...]
    threshold: float
    stem: str | None = None
    channels: tuple[dict[str, dict[str, float]], ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the shift as plain JSON values."""
        return {
            "threshold": self.threshold,
            "layers": [{**asdict(layer), "shape": list(layer.shape)} for layer in self.layers],
            "stem": {"layer": self.stem, "channels": list(self.channels)},
        }


def feature_maps(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return a network's features by tap, in the order of the pass, the logits last; see `taps` for where they are.

    Args:
        module: maps images to logits; eval mode, restored. No hook is left behind.
        x: images [B, C, H, W] on the module's device.
    """
    with frozen(module), torch.no_grad(), recording(module) as maps:
        module(x)
        return dict(maps)


def feature_shift(module: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], *, threshold: float = 0.1) -> FeatureShift:
    """Return how far adversarial examples move a network's features.

    Args:
        module: maps images to logits; eval mode, restored. No hook is left behind.
        pairs: batches of (x, x_adv), each [B, C, H, W] on the module's device.
        threshold: |d| above which a unit counts as moved, in the unit of the features.

    Raises:
        UserError: there is no pair, or the threshold is negative.
    """
    if not threshold >= 0:
        raise UserError(f"the threshold {threshold:g} is negative: give the change of a unit that counts, such as 0.1")
    first = first_convolution(module)
    stem = None if first is None else first[0]
    sums: dict[str, _Sums] = {}
    channels = {name: ChannelSums() for name in ("difference", "clean", "adversarial")}
    for x, x_adv in pairs:
        clean, moved = feature_maps(module, x), feature_maps(module, x_adv)
        for name, features in clean.items():
            sums.setdefault(name, _Sums(tuple(features.shape[1:]))).add(features, moved[name], threshold)
        if stem in clean:
            for name, values in _stem_values(clean[stem], moved[stem]).items():
                channels[name].add(values)
    if not sums:
        raise UserError("there are no images to compare: give at least one batch of (x, x_adv)")
    rows = {name: total.document() for name, total in channels.items()} if stem in sums else {}
    return FeatureShift(
        layers=tuple(total.shift(name) for name, total in sums.items()),
        threshold=threshold,
        stem=stem if rows else None,
        channels=tuple(dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)),
    )


def _stem_values(clean: Tensor, moved: Tensor) -> _Maps:
    return {"difference": moved - clean, "clean": clean, "adversarial": moved}


@dataclass
class _Sums:
    """What is added up at one tap."""

    shape: tuple[int, ...]
    count: int = 0
    total: float = 0.0
    largest: float = 0.0
    above: int = 0
    squares: float = 0.0
    clean: MomentSums = field(default_factory=MomentSums)
    adversarial: MomentSums = field(default_factory=MomentSums)

    def add(self, features: Tensor, moved: Tensor, threshold: float) -> None:
        size = (moved.double() - features.double()).abs()
        self.count += size.numel()
        self.total += float(size.sum())
        self.largest = max(self.largest, float(size.max()))
        self.above += int((size > threshold).sum())
        self.squares += float(size.square().sum())
        self.clean.add(features)
        self.adversarial.add(moved)

    def shift(self, name: str) -> LayerShift:
        norm = self.clean.squares
        return LayerShift(
            layer=name,
            shape=self.shape,
            mean_abs=self.total / self.count,
            max_abs=self.largest,
            relative=math.sqrt(self.squares / norm) if norm > 0 else None,
            above=self.above / self.count,
            clean=self.clean.moments(),
            adversarial=self.adversarial.moments(),
        )
