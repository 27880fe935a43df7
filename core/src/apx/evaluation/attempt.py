"""One evaluation under way: attacks meet batches, and what they make of them is judged, recorded, recalled."""

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UserError
from .attack import Attack, Crafted, Rehearsal, Setting
from .journal import Finished, Journal
from .memory import within_memory
from .network import Logits, check_finite
from .outcome import Outcome
from .progress import Meter
from .samples import Batch, Samples
from .threat import in_box


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

        def attacked(rows: Tensor) -> Finished:
            batch = next(self.samples.batches(rows, len(rows), self.device))
            return self._judged(attack, batch, attack.craft(self.setting, batch))

        try:
            finished, self.batch_size = within_memory(attacked, left, self.batch_size, self.device)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise UserError(
                f"the model has no gradient with respect to its images, {attack.name} needs one: use attack square"
            ) from error
        heard = [*finished.heard, *(["out-of-memory"] if self.batch_size < size else [])]
        seconds = time.perf_counter() - started
        return Finished(**{**vars(finished), "heard": heard, "batch_size": self.batch_size, "seconds": seconds})

    def _judged(self, attack: Attack, batch: Batch, crafted: Crafted) -> Finished:
        """Predict the crafted images by the network itself; nothing else makes an example adversarial."""
        allowed, wrong = self._verdict(attack, batch, crafted)
        heard, distances = list(crafted.heard), None
        if crafted.distances is not None:
            found = crafted.distances.isfinite()
            if not self.transferred and bool((found & ~wrong).any()):
                # at the boundary the prepared network may round to the other side: there the network itself is asked
                crafted, wrong = self._from_itself(attack, batch, crafted, found & ~wrong)
                found = crafted.distances.isfinite()  # type: ignore[union-attr]
            missed = torch.full_like(crafted.distances, math.inf)  # type: ignore[arg-type]
            distances = torch.where(found & wrong & allowed, crafted.distances, missed)  # type: ignore[arg-type]
            wrong = wrong & (distances <= self.setting.threat.eps)
        broken = batch.rows[(allowed & wrong).cpu()].tolist()
        rejected = int((~allowed).sum())
        return Finished(batch.rows.tolist(), broken, None if distances is None else distances.tolist(), rejected, heard)

    def _verdict(self, attack: Attack, batch: Batch, crafted: Crafted) -> tuple[Tensor, Tensor]:
        """Return (allowed, misclassified), bool [B] each; an image outside the threat model breaks nothing."""
        x_adv = crafted.x_adv
        # a minimum-norm attack's distance is judged by itself
        near = self.setting.threat.allows(x_adv, batch.x) if attack.bounded and crafted.distances is None else True
        with torch.no_grad():
            logits = self.network(x_adv)
        check_finite(logits)
        return in_box(x_adv) & near, logits.argmax(dim=1) != batch.y

    def _from_itself(self, attack: Attack, batch: Batch, crafted: Crafted, doubtful: Tensor) -> tuple[Crafted, Tensor]:
        """Attack the doubtful samples once more, now by the network's own gradients."""
        where = doubtful.nonzero()[:, 0]
        part = Batch(batch.rows[where.cpu()], batch.indices[where], batch.x[where], batch.y[where])
        own = Setting(self.network, self.setting.threat, self.setting.seed, self.setting.classes)
        again = attack.craft(own, part)
        x_adv = crafted.x_adv.index_copy(0, where, again.x_adv)
        distances = crafted.distances.index_copy(0, where, again.distances)  # type: ignore[union-attr, arg-type]
        with torch.no_grad():
            wrong = self.network(x_adv).argmax(dim=1) != batch.y
        return Crafted(x_adv, distances), wrong

    def _take(self, attack: Attack, finished: Finished) -> None:
        self.outcome.breaks(attack.name, finished.broken)
        self.outcome.rejected += finished.rejected
        for name in finished.heard:
            self.outcome.warnings.add(name, self.batch_size if name == "out-of-memory" else None)
        if finished.distances is not None:
            self.outcome.nearest(finished.rows, finished.distances)
        self.meter.robust = int(self.outcome.robust.sum())
