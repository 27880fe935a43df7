"""Results documents for the commands that compare models: read where they exist, made where a network is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apx.errors import UserError

from .progress import evaluation_progress
from .shared_options import NORMS, batch_size_option, device_option, eps_option, made_options, n_option, seed_option

if TYPE_CHECKING:
    from apx.evaluation import Journal
    from apx.target import Opened


def measuring_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the evaluations that a command makes."""
    norms = click.Choice(NORMS, case_sensitive=False)
    for option in (
        device_option,
        seed_option,
        batch_size_option,
        click.option("--norm", type=norms, metavar="|".join(NORMS), help="Of the threat; the data set's by default."),
        n_option,
        eps_option,
    ):
        function = option(function)
    return made_options(function)


@dataclass(frozen=True)
class Asked:
    """How networks are to be evaluated; None leaves it to the data set or to `evaluate`."""

    eps: float | None
    n: int | None
    norm: str | None
    batch_size: int
    seed: int
    device: str


class Model:
    """One target of a command: a results document in a file, or a network that is evaluated when asked."""

    def __init__(self, target: Path, made: Mapping[str, Any], asked: Asked) -> None:
        self.target, self._made, self._asked = target, made, asked
        self._journals: list[Journal] = []

    @property
    def stored(self) -> bool:
        """Whether the target is a results document."""
        return self.target.suffix.lower() == ".json"

    @cached_property
    def opened(self) -> Opened:
        """The network, opened once."""
        from apx.target import Made, open_target

        return open_target(self.target, Made(**self._made))

    @cached_property
    def device(self) -> Any:
        """Where the network runs."""
        from apx.runner.request import choose_device

        return choose_device(self._asked.device)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The stored results document."""
        from apx.evaluation.stored import read_document

        return read_document(self.target)

    def evaluated(self, attack: str, *, steps: int | None = None, source: Model | None = None) -> dict[str, Any]:
        """Return the results document of an attack on the network; a stored one is what it is, whatever attacked.

        Args:
            attack: name of a single attack.
            steps: of the attack; its default where None.
            source: the network on which the adversarial images are made; this one where None.
        """
        if self.stored:
            return self.document
        from apx.evaluation import Journal, evaluate

        asked, opened = self._asked, self.opened
        self._journals.append(Journal.at_home())
        click.echo(f"{self.target}: {attack}", err=True)
        return evaluate(
            opened.module.to(self.device),
            opened.data.test,
            attack=attack,
            eps=self._eps(),
            norm=asked.norm or opened.data.norm,
            steps=steps,
            n=asked.n,
            batch_size=asked.batch_size,
            device=self.device,
            seed=asked.seed,
            source=None if source is None else source.opened.module,
            tuning=opened.data.val,
            classes=opened.data.num_classes,
            target={**opened.facts, **({} if source is None else {"source": str(source.target)})},
            progress=evaluation_progress(len(opened.data.test) if asked.n is None else asked.n),
            journal=self._journals[-1],
        )

    def finish(self) -> None:
        """Forget how far the evaluations had come: the command has its result."""
        for journal in self._journals:
            journal.discard()

    def _eps(self) -> float:
        data, asked = self.opened.data, self._asked
        if asked.eps is None and asked.norm not in (None, data.norm):
            raise UserError(f"--norm {asked.norm} needs --eps: the threat of {data.name} is {data.norm}")
        return data.threat_eps if asked.eps is None else asked.eps
