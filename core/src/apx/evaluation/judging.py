"""What an attack's images are worth: predictions of the network itself, distances, the threat model."""

import math

import torch
from torch import Tensor

from .attack import Attack, Crafted, Setting
from .journal import Finished
from .network import Logits, check_finite
from .samples import Batch
from .threat import in_box


def attacked(network: Logits, setting: Setting, attack: Attack, batch: Batch, *, transferred: bool) -> Finished:
    """Attack a batch by what `setting` shows, and judge the images by the network itself: nothing else breaks a sample.

    Where only the prepared copy is misled (it rounds otherwise, which counts at the boundary), the network itself is
    attacked once more; in a transfer attack it is not, whose point is that the network is not known.
    """
    crafted = attack.craft(setting, batch)
    wrong = _misclassified(network, crafted.x_adv, batch.y)
    if not transferred and setting.network is not network:
        doubtful = _claimed(setting.network, crafted, batch.y) & ~wrong
        if bool(doubtful.any()):
            crafted = _once_more(network, setting, attack, batch, crafted, doubtful)
            wrong = _misclassified(network, crafted.x_adv, batch.y)
    return _finished(setting, attack, batch, crafted, wrong)


def _finished(setting: Setting, attack: Attack, batch: Batch, crafted: Crafted, wrong: Tensor) -> Finished:
    allowed, distances = in_box(crafted.x_adv), crafted.distances
    if distances is not None:  # a minimum-norm attack may look beyond the radius
        distances = torch.where(distances.isfinite() & wrong & allowed, distances, math.inf)
        wrong = wrong & (distances <= setting.threat.eps)
    elif attack.bounded:
        allowed = allowed & setting.threat.allows(crafted.x_adv, batch.x)
    return Finished(
        rows=batch.rows.tolist(),
        broken=batch.rows[(allowed & wrong).cpu()].tolist(),
        distances=None if distances is None else distances.tolist(),
        rejected=int((~allowed).sum()),
        heard=list(crafted.heard),
    )


@torch.no_grad()
def _misclassified(network: Logits, x_adv: Tensor, y: Tensor) -> Tensor:
    logits = network(x_adv)
    check_finite(logits)
    return logits.argmax(dim=1) != y


def _claimed(attacked_network: Logits, crafted: Crafted, y: Tensor) -> Tensor:
    """Return which images mislead the attacked network, bool [B]; a minimum-norm attack has seen to it."""
    if crafted.distances is not None:
        return crafted.distances.isfinite()
    return _misclassified(attacked_network, crafted.x_adv, y)


def _once_more(
    network: Logits, setting: Setting, attack: Attack, batch: Batch, crafted: Crafted, doubtful: Tensor
) -> Crafted:
    where = doubtful.nonzero()[:, 0]
    part = Batch(batch.rows[where.cpu()], batch.indices[where], batch.x[where], batch.y[where])
    again = attack.craft(Setting(network, setting.threat, setting.seed, setting.classes), part)
    distances = crafted.distances
    if distances is not None and again.distances is not None:
        distances = distances.index_copy(0, where, again.distances)
    return Crafted(crafted.x_adv.index_copy(0, where, again.x_adv), distances, crafted.heard)
