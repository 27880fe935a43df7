"""A run in memory, of a method by its slug, on the tiny network and data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..masked_model import MaskedModel
from ..method import Method
from ..registry import entry, load_method, objectives
from ..runner.context import Run
from ..runner.observer import Observer
from ..runner.report import unit_sparsity
from ..runner.request import Request, build_settings, choose_variant
from ..training.trainer import Environment
from .tiny import tiny_data, tiny_net


@dataclass
class Trial:
    """A method, a network and a run, ready to execute."""

    method: Method
    model: MaskedModel
    run: Run

    def execute(self) -> nn.Module:
        """Run the method to its end and return the exported network."""
        self.method.execute(self.model, self.run)
        return self.method.export(self.model, self.run)

    def own_sparsity(self, pruned: nn.Module) -> float:
        """Return the share of units that are zero in an exported network, in the variant's own unit and layers."""
        return unit_sparsity(self.run.variant, pruned, self.run.example)


TrialMaker = Callable[..., Trial]
"""What the fixture `trial` is: `make_trial`."""


def make_trial(
    slug: str,
    *,
    sparsity: float = 0.5,
    net: nn.Module | None = None,
    seed: int = 0,
    preset: str = "quick",
    set: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    **variant: Any,
) -> Trial:
    """Make a trial: `make_trial("hydra", sparsity=0.5, structure="S", set={"prune.epochs": 0})`.

    Args:
        slug: the method's; its plugin has to be installed.
        sparsity: share to remove, in the variant's own unit.
        net: a network for images 1x8x8 and three classes; `tiny_net()` where None.
        seed: of everything random in the run; `net` is as it comes.
        preset: where the settings come from.
        set: overrides of settings, as `--set` takes them.
        observers: what hears of the run.
        variant: words that choose the variant, such as `structure` or `schedule`.

    Raises:
        UserError: an unknown method, variant or setting.
    """
    request = Request(slug, dataset="tiny", sparsity=sparsity, preset=preset, set=set or {}, seed=seed, **variant)
    kind = load_method(slug)
    chosen = choose_variant(entry(slug).document, request)
    settings = build_settings(kind, request, chosen)
    run = Run(
        variant=chosen,
        sparsity=settings.sparsity,
        rounds=settings.rounds,
        environment=Environment(tiny_data(), seed, torch.device("cpu")),
        observers=list(observers),
        objectives=objectives(),
    )
    return Trial(kind(settings, chosen), MaskedModel(tiny_net() if net is None else net), run)
