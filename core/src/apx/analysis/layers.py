"""`apx analyze layers` as one call: examples, shift per layer, rates, transforms."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..evaluation.network import device_of
from ..evaluation.samples import Samples
from ..runner.progress import Progress
from .crafting import Attack, craft
from .features import feature_shift
from .sweep import SweepRow, rates_on, sweep
from .taps import rounded
from .transforms import WeightTransform


def analyse_layers(
    module: nn.Module,
    samples: Samples,
    attack: Attack,
    *,
    threshold: float = 0.1,
    decimals: int | None = None,
    transforms: Sequence[WeightTransform] = (),
    seeds: Sequence[int] = (0,),
    batch_size: int = 128,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Attack a network and return, as JSON, what the examples do inside it and to transformed versions of it.

    Args:
        module: the plain network, where it is to run; mode and random state are restored.
        samples: the images, as `apx.evaluation.samples.draw` returns them.
        attack: how the examples are made, white-box, for the network and for each transformed one.
        threshold: |d| above which a unit counts as moved.
        decimals: round the activations at every tap for the shift and for `rates_rounded`; the examples are those of
            the network without rounding.
        transforms: changes of the weights to attack as well.
        seeds: seeds of the transforms' noise.
        batch_size: images per pass.
        progress: hears phases of one step per batch.

    Returns:
        `images`, `attack`, `largest_change` (Linf, over all images), `rates`, `rates_rounded` (None without
        `decimals`), `decimals`, the fields of `FeatureShift.document`, and `transforms`: the network as it is, then
        each transform (empty where none is asked).

    Raises:
        UserError: see `craft` and `feature_shift`.
    """
    if progress is not None:
        progress.phase(f"{attack.name} on {len(samples)} images", -(-len(samples) // batch_size))
    x_adv = craft(module, samples, attack, batch_size=batch_size, progress=progress)
    rates = rates_on(module, samples, x_adv, batch_size=batch_size)
    rates_rounded = None
    with nullcontext() if decimals is None else rounded(module, decimals):
        shift = feature_shift(module, _pairs(module, samples, x_adv, batch_size), threshold=threshold)
        if decimals is not None:
            rates_rounded = rates_on(module, samples, x_adv, batch_size=batch_size)
    rows = sweep(module, samples, transforms, attack, seeds=seeds, batch_size=batch_size, progress=progress)
    if rows:
        rows.insert(0, SweepRow(None, 0.0, (), (rates,)))
    return {
        "images": len(samples),
        "attack": attack.document(),
        "largest_change": _largest_change(samples, x_adv),
        "rates": rates.document(),
        "decimals": decimals,
        "rates_rounded": rates_rounded and rates_rounded.document(),
        **shift.document(),
        "transforms": [row.document() for row in rows],
    }


def _pairs(module: nn.Module, samples: Samples, x_adv: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    device = device_of(module)
    for batch in samples.batches(torch.arange(len(samples)), batch_size, device):
        yield batch.x, x_adv[batch.rows].to(device)


def _largest_change(samples: Samples, x_adv: Tensor) -> float:
    cpu = torch.device("cpu")
    rows = torch.arange(len(samples))
    return max(float((x_adv[b.rows] - b.x).abs().max()) for b in samples.batches(rows, 1024, cpu))
