"""Samples on thin ice: which samples pruning loses and wins, and how close they lie to the dense model's boundary.

Piras et al., ICMLC 2023 (arXiv 2310.08073): for a fixed attack, S_ab are the samples on which the dense model is
right (a = 1) or wrong (a = 0) and the pruned one is right (b = 1) or wrong (b = 0). S10 is what pruning loses, S01 what
it wins; the claim is that both lie closest to the boundary of the dense model.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..evaluation.security_curve import distances_of

SETS = {"S11": (True, True), "S10": (True, False), "S01": (False, True), "S00": (False, False)}
"""Name of each set -> whether the dense and the pruned model are right on it."""

COMPARISONS = (
    ("distance", ("S10", "S01"), ("S11",)),
    ("distance", ("S10",), ("S11",)),
    ("gap", ("S10", "S01"), ("S11", "S00")),
)
"""What is compared: the study's claim, and two readings of it that do not follow from how the sets are made.

A sample that the dense model loses within eps has a distance of at most eps, whatever pruning does, so S01 is nearer
than S11 by construction. S10 and S11 are both right on the dense model; and the gap |d - eps| is how far a sample is
from the other outcome, on either side of eps.
"""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What one model made of the samples of one evaluation; arrays are [n], in the order of `indices`.

    Args:
        name: the model.
        data: whose samples these are, as in "digits, test split".
        attacks: names of the attacks, in their order.
        norm, eps: of the threat.
        indices: positions of the samples in the split.
        labels: their classes.
        predictions: what the model says of the clean samples.
        robust: right on the clean sample and under attack; bool.
        distances: to the model's boundary; None where no minimum-norm attack was run.
        source: the network on which the adversarial images were made; None where it is the model itself.
    """

    name: str
    data: str
    attacks: tuple[str, ...]
    norm: str
    eps: float
    indices: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    robust: np.ndarray
    distances: np.ndarray | None = None
    source: str | None = None

    @property
    def correct(self) -> np.ndarray:
        """Right on the clean sample, bool [n]."""
        return self.predictions == self.labels


@dataclass(frozen=True)
class Summary:
    """What a measure is in one set: `count` samples, the `infinite` ones among them left out of `mean`.

    Mean and median are None where there is nothing to take them of; the median may be infinite.
    """

    count: int
    infinite: int
    mean: float | None
    median: float | None


@dataclass(frozen=True)
class Comparison:
    """Mann and Whitney's test (1947), two-sided, of a measure in `first` against that in `second`.

    `below` is the share of pairs in which the value of `first` is the smaller one, ties as a half: 0.5 where the sets
    do not differ. `p_value` and `below` are None where a set is empty.
    """

    measure: str
    first: str
    second: str
    count_first: int
    count_second: int
    below: float | None
    p_value: float | None


@dataclass(frozen=True)
class Partition:
    """The four sets of one kind of outcome (`clean` or `adversarial`): indices in the split, and what lies in them."""

    kind: str
    sets: Mapping[str, tuple[int, ...]]
    accuracy_dense: float
    accuracy_pruned: float
    distances: Mapping[str, Summary]
    margins: Mapping[str, Summary] | None
    comparisons: tuple[Comparison, ...]

    def count(self, name: str) -> int:
        """Return the size of a set."""
        return len(self.sets[name])


@dataclass(frozen=True, eq=False)
class Overlap:
    """A dense and a pruned model on the same samples; `distance` [n] is to the dense model's boundary."""

    dense: Outcomes
    pruned: Outcomes
    distance: np.ndarray
    clean: Partition
    adversarial: Partition

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.dense.indices)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values; an infinite median is "inf"."""
        models = {"dense": self.dense, "pruned": self.pruned}
        return {
            **{which: _model_dict(model) for which, model in models.items()},
            "data": self.dense.data,
            "n": self.n,
            "threat": {"norm": self.dense.norm, "eps": self.dense.eps},
            "clean": _partition_dict(self.clean, self.n),
            "adversarial": _partition_dict(self.adversarial, self.n),
        }


def overlap(dense: Sequence[bool], pruned: Sequence[bool]) -> dict[str, np.ndarray]:
    """Return the sets S11, S10, S01 and S00 as masks, bool [n]; each sample is in one of them.

    Args:
        dense: whether the dense model is right on each sample.
        pruned: the same of the pruned model.

    Raises:
        ValueError: of different lengths.
    """
    before, after = np.asarray(dense, dtype=bool), np.asarray(pruned, dtype=bool)
    if before.shape != after.shape:
        raise ValueError(f"{len(before)} outcomes of the dense model and {len(after)} of the pruned one")
    return {name: (before == right) & (after == still) for name, (right, still) in SETS.items()}


def outcomes_of(document: Mapping[str, Any]) -> Outcomes:
    """Return what a results document says of each sample, distances where it has them."""
    samples = document["samples"]
    columns = {name: np.array([sample[name] for sample in samples]) for name in ("index", "label", "prediction")}
    measured = any(sample["distance"] is not None for sample in samples)
    return Outcomes(
        name=str(document["target"]),
        data=f"{document['dataset']}, {document['split']} split",
        attacks=tuple(attack["name"] for attack in document["attacks"]),
        norm=document["threat"]["norm"],
        eps=float(document["threat"]["eps"]),
        indices=columns["index"],
        labels=columns["label"],
        predictions=columns["prediction"],
        robust=np.array([sample["robust"] for sample in samples], dtype=bool),
        distances=np.array(distances_of(document)) if measured else None,
        source=document.get("source"),
    )


def compare(
    dense: Outcomes, pruned: Outcomes, *, measured: Outcomes | None = None, margins: Sequence[float] | None = None
) -> Overlap:
    """Return the overlap of two models that met the same samples and the same attack.

    Args:
        dense: outcomes of the dense model.
        pruned: outcomes of the pruned one.
        measured: another evaluation of the dense model, which holds its distances; `dense` where None.
        margins: logit margins of the dense model on the clean samples; see `apx.analysis.logit_margin`.

    Raises:
        UserError: other data, samples, attacks or radii, or no distances of the dense model.
    """
    _same_samples(dense, pruned)
    _same_attack(dense, pruned)
    distance = _distances(dense, measured)
    clean = (dense.correct, pruned.correct)
    attacked = (dense.robust, pruned.robust)
    more = None if margins is None else np.asarray(margins, dtype=np.float64)
    return Overlap(
        dense=dense,
        pruned=pruned,
        distance=distance,
        clean=_partition("clean", clean, dense.indices, distance, more, eps=0.0),
        adversarial=_partition("adversarial", attacked, dense.indices, distance, more, eps=dense.eps),
    )


def _partition(
    kind: str,
    right: tuple[np.ndarray, np.ndarray],
    indices: np.ndarray,
    distance: np.ndarray,
    margins: np.ndarray | None,
    *,
    eps: float,
) -> Partition:
    masks = overlap(right[0].tolist(), right[1].tolist())
    measures = {"distance": distance, "gap": np.abs(distance - eps)}
    return Partition(
        kind=kind,
        sets={name: tuple(indices[mask].tolist()) for name, mask in masks.items()},
        accuracy_dense=float(right[0].mean()),
        accuracy_pruned=float(right[1].mean()),
        distances={name: summary(distance[mask]) for name, mask in masks.items()},
        margins=None if margins is None else {name: summary(margins[mask]) for name, mask in masks.items()},
        comparisons=tuple(
            _comparison(measure, measures[measure], first, second, masks) for measure, first, second in COMPARISONS
        ),
    )


def summary(values: np.ndarray) -> Summary:
    """Return count, mean of the finite ones and median of `values` [n]."""
    finite = values[np.isfinite(values)]
    return Summary(
        count=len(values),
        infinite=len(values) - len(finite),
        mean=float(finite.mean()) if len(finite) else None,
        median=float(np.median(values)) if len(values) else None,
    )


def _comparison(
    measure: str, values: np.ndarray, first: Sequence[str], second: Sequence[str], masks: Mapping[str, np.ndarray]
) -> Comparison:
    a, b = (np.concatenate([values[masks[name]] for name in names]) for names in (first, second))
    below, p_value = _mann_whitney(a, b)
    return Comparison(measure, "+".join(first), "+".join(second), len(a), len(b), below, p_value)


def _mann_whitney(a: np.ndarray, b: np.ndarray) -> tuple[float | None, float | None]:
    if not len(a) or not len(b):
        return None, None
    if len(np.unique(np.concatenate([a, b]))) == 1:  # the test divides by the spread of the ranks
        return 0.5, 1.0
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(a, b, alternative="two-sided")
    return 1.0 - float(found.statistic) / (len(a) * len(b)), float(found.pvalue)


def _same_samples(one: Outcomes, other: Outcomes) -> None:
    if one.data != other.data:
        raise UserError(
            f"{one.name} was evaluated on {one.data}, {other.name} on {other.data}: evaluate both on the same data"
        )
    if not np.array_equal(one.indices, other.indices):
        raise UserError(
            f"{one.name} was evaluated on {_range(one.indices)}, {other.name} on {_range(other.indices)}: "
            "evaluate both on the same samples, with the same --n"
        )
    if not np.array_equal(one.labels, other.labels):
        raise UserError(f"{one.name} and {other.name} differ in the labels of their samples: the data are not the same")


def _range(indices: np.ndarray) -> str:
    return f"{len(indices)} samples ({indices[0]} to {indices[-1]})" if len(indices) else "no samples"


def _same_attack(dense: Outcomes, pruned: Outcomes) -> None:
    if dense.attacks != pruned.attacks:
        asked = [" + ".join(model.attacks) or "no attack" for model in (dense, pruned)]
        raise UserError(
            f"{dense.name} was attacked by {asked[0]}, {pruned.name} by {asked[1]}: "
            "evaluate both with the same --attack"
        )
    if dense.norm != pruned.norm or not math.isclose(dense.eps, pruned.eps, rel_tol=1e-6):
        raise UserError(
            f"{dense.name} was attacked within {dense.norm} {dense.eps:.6g}, {pruned.name} within {pruned.norm} "
            f"{pruned.eps:.6g}: evaluate both with the same --eps"
        )


def _distances(dense: Outcomes, measured: Outcomes | None) -> np.ndarray:
    source = dense if measured is None else measured
    if source is not dense:
        _same_samples(dense, source)
        if source.norm != dense.norm:
            raise UserError(f"the distances of {source.name} are {source.norm}, the attack's threat is {dense.norm}")
        if (source.predictions != dense.predictions).mean() > 0.01:  # rounding may move a sample or two
            raise UserError(f"the distances of {source.name} are those of another model than {dense.name}")
    if source.distances is None:
        raise UserError(
            f"the results of {source.name} hold no distances to the dense model's boundary: "
            "evaluate it with --protocol curve or --attack fmn"
        )
    return source.distances


def _model_dict(model: Outcomes) -> dict[str, Any]:
    return {"name": model.name, "attacks": list(model.attacks), "source": model.source}


def _partition_dict(partition: Partition, n: int) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for name, indices in partition.sets.items():
        sets[name] = {"count": len(indices), "share": len(indices) / n, "distance": _plain(partition.distances[name])}
        if partition.margins is not None:
            sets[name]["margin"] = _plain(partition.margins[name])
        sets[name]["indices"] = list(indices)
    return {
        "accuracy_dense": partition.accuracy_dense,
        "accuracy_pruned": partition.accuracy_pruned,
        "sets": sets,
        "comparisons": [asdict(comparison) for comparison in partition.comparisons],
    }


def _plain(found: Summary) -> dict[str, Any]:
    values = asdict(found)
    infinite: Iterable[str] = (name for name, value in values.items() if value == math.inf)
    return {**values, **dict.fromkeys(infinite, "inf")}
