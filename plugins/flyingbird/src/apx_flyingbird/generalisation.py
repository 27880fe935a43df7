"""What FlyingBird+ steers by: the robust generalisation gap and the validation loss, once per epoch."""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from apx import Batch, MaskedModel, Run, TrainSettings
from apx.attacks import frozen, pgd, uniform_start
from apx.datasets import ordered_batches
from apx.randomness import keyed_uniform


def rising(values: Iterable[float], *, ties: bool = False) -> float:
    """Return the share of differences between neighbours that are positive, or with `ties` not negative; 0 for none."""
    steps = [after - before for before, after in pairwise(values)]
    return sum(step > 0 or (ties and step == 0) for step in steps) / max(len(steps), 1)


class Generalisation:
    """Records G, robust accuracy on training batches minus that on validation data, and L, the validation loss.

    Training accuracy is what the loss's own forward pass gets right, in train mode, over all batches of the epoch;
    validation is PGD with `val_steps` steps in eval mode, at the training attack's radius and step.
    """

    def __init__(self, run: Run, settings: TrainSettings, *, window: int, val_steps: int) -> None:
        self._run = run
        self._settings = settings.model_copy(update={"steps": val_steps})
        self.gaps: deque[float] = deque(maxlen=window + 1)
        self.losses: deque[float] = deque(maxlen=window + 1)
        self._right, self._seen = 0.0, 0.0
        self._logits: Tensor | None = None
        self._watch: RemovableHandle | None = None

    # -- training batches ---------------------------------------------------------------------------------------

    def watch(self, model: MaskedModel, batch: Batch) -> None:
        """Look at the forward passes of this batch until `count`."""
        self._logits = None

        def look(_: torch.nn.Module, args: tuple[Tensor, ...], logits: Tensor) -> None:
            (x,) = args
            attacking = x.requires_grad or not logits.requires_grad
            if not attacking and (
                x is not batch.x or self._logits is None
            ):  # clean passes only where there is no other
                self._logits = logits.detach()

        self._watch = model.register_forward_hook(look)

    def count(self, batch: Batch) -> None:
        """Count what the loss's forward pass got right."""
        if self._watch is None or self._logits is None:
            return
        self._watch.remove()
        right = (self._logits.argmax(dim=1) == batch.y).sum()
        counts = torch.stack([right.double(), torch.full_like(right, len(batch.y)).double()])
        right, seen = self._run.environment.processes.average(counts).tolist()
        self._right, self._seen = self._right + right, self._seen + seen
        self._watch = self._logits = None

    # -- epochs -------------------------------------------------------------------------------------------------

    def record(self, model: MaskedModel, epoch: int) -> None:
        """Measure on validation data and append both numbers of the epoch."""
        accuracy, loss = self.validation(model, epoch)
        self.append(gap=self._right / max(self._seen, 1.0) - accuracy, loss=loss)
        self._right, self._seen = 0.0, 0.0

    def append(self, *, gap: float, loss: float) -> None:
        """Take in one epoch's numbers; only the last `window` + 1 are kept."""
        self.gaps.append(gap)
        self.losses.append(loss)

    def validation(self, model: MaskedModel, epoch: int) -> tuple[float, float]:
        """Return robust accuracy and mean adversarial cross-entropy on the validation data."""
        env, split = self._run.environment, self._run.data.val
        threat = env.threat(self._settings)
        right, loss = 0, 0.0
        for x, y, indices in ordered_batches(split, batch_size=self._settings.batch_size, device=env.device):
            noise = keyed_uniform(env.seed, "generalisation", indices, tuple(x.shape[1:]), epoch=epoch)
            with env.autocast(), frozen(model, "eval"):
                start = uniform_start(x, threat.eps, noise)
                x_adv = pgd(model, x, y, start=start, mode="eval", **vars(threat))
                with torch.no_grad():
                    logits = model(x_adv).float()
            right += int((logits.argmax(dim=1) == y).sum())
            loss += float(functional.cross_entropy(logits, y, reduction="sum"))
        return right / len(split), loss / len(split)

    def state(self) -> dict[str, Any]:
        """Return the records and the counts of an epoch under way."""
        return {"gaps": list(self.gaps), "losses": list(self.losses), "right": self._right, "seen": self._seen}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore `state()`."""
        self.gaps.extend(state["gaps"])
        self.losses.extend(state["losses"])
        self._right, self._seen = state["right"], state["seen"]
