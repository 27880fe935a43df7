"""A network beside its quantised self: each attacked on its own, then the first's images shown to the second."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..datasets import Split
from ..evaluation import evaluate
from ..masks import reported_sparsity


@dataclass(frozen=True)
class Comparison:
    """Three results documents on the same images.

    `float32` and `int8` are white-box, each network attacked by its own gradients; in `transfer` the float32 network is
    attacked and the quantised one judges.
    """

    float32: dict[str, Any]
    int8: dict[str, Any]
    transfer: dict[str, Any]

    @property
    def agreement(self) -> float:
        """Share of the clean images of which both networks predict the same class."""
        pairs = zip(self.float32["samples"], self.int8["samples"], strict=True)
        return sum(one["prediction"] == other["prediction"] for one, other in pairs) / self.float32["n"]

    @property
    def transferred(self) -> float | None:
        """Share of the images broken in float32 that the transferred attack breaks too, None where none is."""
        pairs = zip(self.float32["samples"], self.transfer["samples"], strict=True)
        verdicts = [other["broken_by"] is not None for one, other in pairs if one["broken_by"] is not None]
        return sum(verdicts) / len(verdicts) if verdicts else None

    @property
    def masked(self) -> bool:
        """Whether foreign images break the quantised network clearly more often than an attack on itself does.

        That attack is then too weak (its gradients mislead), and its robust accuracy too optimistic. Clearly is below
        the 95 % interval of the network's own robust accuracy: single images go either way.
        """
        own, foreign = (document["robust_accuracy"] for document in (self.int8, self.transfer))
        return own is not None and foreign is not None and bool(foreign["value"] < own["low"])

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        shares = {"agreement": self.agreement, "transferred": self.transferred, "masked": self.masked}
        return {"float32": self.float32, "int8": self.int8, "transfer": self.transfer, **shares}


def compare(
    module: nn.Module,
    quantised: nn.Module,
    split: Split,
    *,
    attack: str,
    eps: float,
    target: Mapping[str, Any] | None = None,
    progress: Callable[[str], Callable[[int, int, int], None]] | None = None,
    **settings: Any,
) -> Comparison:
    """Evaluate both networks and the transfer by the one protocol, `apx.evaluation.evaluate`.

    Args:
        module: the float32 network.
        quantised: `Quantised.module` of it.
        split: the test split.
        attack: one that `evaluate` knows.
        eps: radius for inputs in [0, 1].
        target: what the documents say of the network; each counts the zeros of its own.
        progress: makes what hears of an evaluation, given its name: `float32`, `int8`, `transfer`.
        settings: further arguments of `evaluate`: steps, n, batch_size, device, seed, tuning.

    Raises:
        UserError: what `evaluate` refuses.
    """

    def evaluated(name: str, network: nn.Module, source: nn.Module | None = None) -> dict[str, Any]:
        facts = _facts(target or {}, network)
        heard = None if progress is None else progress(name)
        return evaluate(network, split, attack=attack, eps=eps, target=facts, source=source, progress=heard, **settings)

    return Comparison(
        float32=evaluated("float32", module),
        int8=evaluated("int8", quantised),
        transfer=evaluated("transfer", quantised, source=module),
    )


def _facts(target: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """Return what a document says of `network`, whose own zeros are counted."""
    sparsity = {"requested": None, "unit": None, **target.get("sparsity", {}), "reported": reported_sparsity(network)}
    return {**target, "sparsity": sparsity}
