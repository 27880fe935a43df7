"""Rates under attack: of a network, of its transformed versions, and of examples carried over to another network."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..evaluation.samples import Samples
from ..runner.progress import Progress
from .crafting import Attack, craft, predict
from .rates import Rates, four_rates
from .transforms import WeightTransform, as_json, transform_weights

_RATES = ("clean_accuracy", "remnant_accuracy", "prediction_change_rate", "strict_attack_success_rate")


@dataclass(frozen=True)
class SweepRow:
    """One transform with its rates, one for each seed of its noise; `transform` is None for the network as it is."""

    transform: WeightTransform | None
    ratio: float
    seeds: tuple[int, ...]
    rates: tuple[Rates, ...]

    def summary(self) -> dict[str, tuple[float, float, float]]:
        """Return each rate's mean, lowest and highest value over the seeds."""
        columns = {name: [getattr(rates, name) for rates in self.rates] for name in _RATES}
        return {name: (sum(values) / len(values), min(values), max(values)) for name, values in columns.items()}

    def document(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        summary = {name: dict(zip(("mean", "low", "high"), v, strict=True)) for name, v in self.summary().items()}
        return {
            "transform": as_json(self.transform),
            "ratio": self.ratio,
            "seeds": list(self.seeds),
            **summary,
            "rates": [rates.document() for rates in self.rates],
        }


def rates_on(module: nn.Module, samples: Samples, x_adv: Tensor, *, batch_size: int = 128) -> Rates:
    """Return the rates of `module` on the samples and on given adversarial examples of them, [n, C, H, W]."""
    c = predict(module, samples, batch_size=batch_size)
    a = predict(module, replace(samples, images=x_adv), batch_size=batch_size)
    return four_rates(samples.labels, c, a)


def white_box(
    module: nn.Module,
    samples: Samples,
    attack: Attack,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Rates:
    """Attack a network and return its rates; see `craft`."""
    return transfer(module, module, samples, attack, batch_size=batch_size, progress=progress)


def transfer(
    source: nn.Module,
    target: nn.Module,
    samples: Samples,
    attack: Attack,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Rates:
    """Make examples against `source` and return the rates of `target` on them, clean accuracy included.

    Raises:
        UserError: see `craft`.
    """
    x_adv = craft(source, samples, attack, batch_size=batch_size, progress=progress)
    return rates_on(target, samples, x_adv, batch_size=batch_size)


def sweep(
    module: nn.Module,
    samples: Samples,
    transforms: Sequence[WeightTransform],
    attack: Attack,
    *,
    seeds: Sequence[int] = (0,),
    batch_size: int = 128,
    progress: Progress | None = None,
) -> list[SweepRow]:
    """Transform a network in several ways and attack each result white-box, all by one and the same attack.

    Args:
        module: the plain network; it is not changed.
        samples: the images.
        transforms: what is done to the weights.
        attack: the attack on each transformed network.
        seeds: seeds of the noise of R; a transform without noise is done once, under the first.
        batch_size: images per pass.
        progress: hears a phase of one step per batch.
    """
    work = [(transform, tuple(seeds) if transform.r else tuple(seeds[:1])) for transform in transforms]
    if progress is not None:
        batches = -(-len(samples) // batch_size)
        progress.phase("transforms", batches * sum(len(own) for _, own in work))
    rows = []
    for transform, own in work:
        ratios, rates = [], []
        for seed in own:
            changed = transform_weights(module, transform, seed=seed)
            network = copy.deepcopy(module)
            network.load_state_dict(changed.state)
            ratios.append(changed.ratio)
            rates.append(white_box(network, samples, attack, batch_size=batch_size, progress=progress))
        rows.append(SweepRow(transform, sum(ratios) / len(ratios), own, tuple(rates)))
    return rows
