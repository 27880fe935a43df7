"""Run observers: what listens to a run, and how a plugin's is found."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..lookup import choose
from ..masked_model import MaskedModel

if TYPE_CHECKING:
    from .context import Run


class Observer:
    """Hears what happens in a run; plugins offer observers by the hook `apx_observers`. Each method does nothing here.

    An observer looks and changes nothing. In a resumed run it is a new one: phases that had ended are not told again,
    and steps or an epoch after the last checkpoint are told a second time, with the same values. With several
    processes each has its own; the one whose `run.writes` is true writes files.
    """

    def run_start(self, run: "Run") -> None:
        """Called once, before the first phase, also when a run is resumed.

        `run.directory` is where the run writes (None: nowhere); `run.directory.metrics()` are the epochs told of in
        earlier lives.
        """

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        """Called when a phase begins: `pretrain`, `prune`, `train`, ...; a nested one has the path `prune/scores`."""

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        """Called after each optimiser step; `epoch`, and `step` within it, count from 0."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Called after each epoch, and after its line is in `metrics.jsonl`, before its checkpoint.

        `record` holds `phase` (path), `epoch` (from 0), `loss` (mean over the images), `lr` (first group, last step),
        `seconds`, and where the phase hands over its best state `val_robust`, the accuracy under attack in [0, 1].
        """

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        """Called when a phase has ended, before its state is saved."""


def observers_named(names: Iterable[str]) -> list[Observer]:
    """Make the run observers that plugins offer under `names`, each once.

    Raises:
        UserError: no plugin offers a name (the sentence has the nearest and all there are), or it makes no `Observer`.
    """
    from ..registry import observers

    made, offered = [], observers()
    for name in dict.fromkeys(names):
        observer = choose(offered, name, "run observer")()
        if not isinstance(observer, Observer):
            raise UserError(f"the run observer '{name}' that a plugin offers is {observer!r}, not an apx.Observer")
        made.append(observer)
    return made
