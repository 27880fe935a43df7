"""One evaluation under way: attacks meet batches, and what they make of them is judged, recorded, recalled."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UserError
from .attack import Attack, Rehearsal, Setting
from .journal import Finished, Journal
from .judging import attacked
from .memory import within_memory
from .network import Logits
from .outcome import Outcome
from .progress import Meter
from .samples import Samples


@dataclass
class Attempt:
    """What is evaluated, by what, and what has come of it.

    Attributes:
        network: the network itself: every prediction that counts is its own.
        setting: what attacks are given; its network is the prepared one, or the source of a transfer.
        transferred: whether the attacked network is another one.
        samples: what is evaluated.
        outcome: what has happened to them.
        batch_size: samples per pass; halved where memory runs out.
        device: where to compute.
        journal: what is done already.
        rehearsal: what attacks may be tuned on.
        meter: progress.
    """

    network: Logits
    setting: Setting
    transferred: bool
    samples: Samples
    outcome: Outcome
    batch_size: int
    device: torch.device
    journal: Journal
    rehearsal: Rehearsal
    meter: Meter = field(default_factory=lambda: Meter(None, 1))

    def run(self, attack: Attack, position: int) -> None:
        """Run one attack, the `position`-th of the evaluation, on the samples that it meets."""
        key = f"{position}/{attack.name}"
        attack = self._ready(attack, key)
        work = attack.work(self.setting.classes)
        self.outcome.attacks.append({"name": attack.name, "parameters": attack.record(self.setting)})
        left = attack.meets(self.outcome).nonzero()[:, 0]
        self.meter.skip(len(self.samples) - len(left), work)
        while len(left):
            finished = self.journal.recall(key, int(left[0]))
            self.meter.start(min(len(left), self.batch_size), work)
            if finished is None:
                finished = self._attacked(attack, left)
                self.journal.add(key, finished)
            self.batch_size = finished.batch_size
            self._take(attack, finished)
            self.meter.finish()
            left = left[len(finished.rows) :]

    def _ready(self, attack: Attack, key: str) -> Attack:
        rehearsal = Rehearsal(
            self.rehearsal.samples,
            self.device,
            self.journal.trials(key),
            lambda trial: self.journal.add_trial(key, trial),
        )
        self.meter.start(1, attack.rehearsal())
        attack = attack.ready(self.setting, rehearsal)
        self.meter.finish()
        return attack

    def _attacked(self, attack: Attack, left: Tensor) -> Finished:
        """Attack the first batch of the rows that are left."""
        started, size = time.perf_counter(), self.batch_size

        def work(rows: Tensor) -> Finished:
            batch = next(self.samples.batches(rows, len(rows), self.device))
            return attacked(self.network, self.setting, attack, batch, transferred=self.transferred)

        try:
            finished, self.batch_size = within_memory(work, left, self.batch_size, self.device)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise UserError(
                f"the model has no gradient with respect to its images, {attack.name} needs one: use attack square"
            ) from error
        heard = [*finished.heard, *(["out-of-memory"] if self.batch_size < size else [])]
        seconds = time.perf_counter() - started
        return Finished(**{**vars(finished), "heard": heard, "batch_size": self.batch_size, "seconds": seconds})

    def _take(self, attack: Attack, finished: Finished) -> None:
        self.outcome.breaks(attack.name, finished.broken)
        self.outcome.rejected += finished.rejected
        for name in finished.heard:
            self.outcome.warnings.add(name, self.batch_size if name == "out-of-memory" else None)
        if finished.distances is not None:
            self.outcome.nearest(finished.rows, finished.distances)
        self.meter.robust = int(self.outcome.robust.sum())
