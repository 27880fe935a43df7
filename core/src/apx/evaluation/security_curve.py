"""Security curves: the accuracy that is left as the radius grows, from minimum-norm distances.

R(e) = mean(d_i > e) over the samples, d_i the smallest adversarial distance found for sample i: 0 where it is
misclassified as it is, infinite where the attack found nothing (Piras et al., arXiv 2409.01249). A weaker
attack finds larger distances, so R is an upper bound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from ..errors import UserError

POINTS = 1000
MAX_EPS = 0.15
"""Where a curve ends, Linf, for images in [0, 1]."""


@dataclass(frozen=True)
class SecurityCurve:
    """R at `eps` radii of a norm, for images in [0, 1], and what it comes down to.

    Args:
        name: what the legend says.
        data: whose samples these are, as in "digits, test split".
        norm: of the distances.
        threat_eps: the radius of the threat.
        n: number of samples.
        eps: the radii, ascending from 0.
        robust: R at each of them, fractions of `n`.
        clean_accuracy: R(0).
        robust_accuracy: R(threat_eps), counted, not interpolated.
        combined: the same of the samples that no other attack of the document has broken either; None where the
            document's attacks had another radius.
        area: the area under R from 0 to the last radius, which is the mean of min(d, last radius).
        median_distance: infinite where the attack failed on more than half of the samples.
    """

    name: str
    data: str
    norm: str
    threat_eps: float
    n: int
    eps: tuple[float, ...]
    robust: tuple[float, ...]
    clean_accuracy: float
    robust_accuracy: float
    combined: float | None
    area: float
    median_distance: float

    @property
    def max_eps(self) -> float:
        """The last radius."""
        return self.eps[-1]

    def as_dict(self) -> dict[str, Any]:
        """Return the curve as JSON values; an infinite median is "inf"."""
        values = dict(vars(self))
        values["median_distance"] = self.median_distance if math.isfinite(self.median_distance) else "inf"
        return {**values, "eps": list(self.eps), "robust": list(self.robust)}


def security_curve(
    distances: Sequence[float],
    *,
    threat_eps: float,
    max_eps: float = MAX_EPS,
    points: int = POINTS,
    name: str = "model",
    data: str = "samples",
    norm: str = "Linf",
    broken: Sequence[bool] | None = None,
) -> SecurityCurve:
    """Return the curve of one model.

    Args:
        distances: one per sample, 0 where it is misclassified, infinite where the attack found nothing.
        threat_eps: the radius whose robust accuracy is told.
        max_eps: the last radius.
        points: number of radii, from 0 to `max_eps`, both included.
        name, data, norm: see `SecurityCurve`.
        broken: which samples another attack broke within `threat_eps`; None where that is not known.

    Raises:
        UserError: no distances, a number that is no distance, or a radius that is not above 0.
    """
    values = np.asarray(distances, dtype=np.float64)
    if not len(values):
        raise UserError("there is no sample to draw a security curve of: evaluate on at least one")
    if not bool((values >= 0).all()):  # NaN is not
        raise UserError(f"{values[~(values >= 0)][0]} is no distance: distances are 0 or more, infinite where none is")
    if not 0 < max_eps < math.inf or points < 2:
        raise UserError(f"a security curve cannot have {points} points from 0 to {max_eps:g}: take 2 and a radius > 0")
    eps = np.linspace(0.0, max_eps, points)
    lasting = values if broken is None else np.where(np.asarray(broken), 0.0, values)
    return SecurityCurve(
        name=name,
        data=data,
        norm=norm,
        threat_eps=threat_eps,
        n=len(values),
        eps=tuple(eps.tolist()),
        robust=tuple(_beyond(values, eps).tolist()),
        clean_accuracy=float(np.mean(values > 0)),
        robust_accuracy=float(np.mean(values > threat_eps)),
        combined=None if broken is None else float(np.mean(lasting > threat_eps)),
        area=float(np.minimum(values, max_eps).mean()),
        median_distance=float(median(values.tolist())),
    )


def distances_of(document: Mapping[str, Any]) -> list[float]:
    """Return the distance of each sample of a results document, in its order; 0 where it is misclassified.

    Raises:
        UserError: no minimum-norm attack was run on the document's samples.
    """
    distances = []
    for sample in document["samples"]:
        wrong, distance = sample["prediction"] != sample["label"], sample["distance"]
        if distance is None and not wrong:
            raise UserError(
                f"the results of {document['target']} hold no distances, since no minimum-norm attack was run: "
                "evaluate with --protocol curve or --attack fmn"
            )
        distances.append(0.0 if wrong else float(distance))
    return distances


def curves_of(
    documents: Sequence[Mapping[str, Any]],
    *,
    names: Sequence[str] | None = None,
    threat_eps: float | None = None,
    max_eps: float | None = None,
) -> list[SecurityCurve]:
    """Return the curves of several results documents, made to be drawn in one figure.

    Args:
        documents: what `apx.evaluation.evaluate` returned, with distances of one norm on one data set.
        names: a label for each; made of method, architecture and sparsity where None.
        threat_eps: the radius of the threat; the documents' where None.
        max_eps: the last radius; 0.15 where None, or twice the threat's where that is more.

    Raises:
        UserError: documents without distances, of different data, norms or (where `threat_eps` is None) radii, or
            another number of names.
    """
    if not documents:
        raise UserError("there are no results to draw security curves of: give at least one document")
    data = _one([f"{document['dataset']}, {document['split']} split" for document in documents], "data")
    norm = _one([document["threat"]["norm"] for document in documents], "norms")
    if threat_eps is None:
        radii = [f"{document['threat']['eps']:.6g}" for document in documents]
        _one(radii, "radii", fix="say with --eps which one is to be marked")
        threat_eps = float(documents[0]["threat"]["eps"])
    labels = labels_of(documents) if names is None else list(names)
    if len(labels) != len(documents):
        raise UserError(f"{len(labels)} names were given for {len(documents)} models: give one for each")
    return [
        security_curve(
            distances_of(document),
            threat_eps=threat_eps,
            max_eps=max(MAX_EPS, 2 * threat_eps) if max_eps is None else max_eps,
            name=label,
            data=data,
            norm=norm,
            broken=_broken(document, threat_eps),
        )
        for document, label in zip(documents, labels, strict=True)
    ]


def labels_of(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a label for each document: method, architecture, sparsity, and its target's name where two are alike."""
    labels = [_label(document) for document in documents]
    stems = [str(document["target"]).rstrip("/").rpartition("/")[2] for document in documents]
    return [
        f"{label} ({stem})" if labels.count(label) > 1 else label for label, stem in zip(labels, stems, strict=True)
    ]


def _label(document: Mapping[str, Any]) -> str:
    known = [document["method"] or "", document["arch"] or ""]
    if sparsity := document.get("sparsity", {}).get("reported"):
        known.append(f"{sparsity:.0%}")
    return " ".join(part for part in known if part) or str(document["target"])


def _beyond(values: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Return mean(values > e) for each e, counted in one sort."""
    return (len(values) - np.searchsorted(np.sort(values), eps, side="right")) / len(values)


def _broken(document: Mapping[str, Any], threat_eps: float) -> list[bool] | None:
    """Return which samples some attack of the document broke, None where it had another radius."""
    if not math.isclose(document["threat"]["eps"], threat_eps, rel_tol=1e-6):
        return None
    return [not sample["robust"] for sample in document["samples"]]


def _one(values: Sequence[str], what: str, *, fix: str = "draw them in figures of their own") -> str:
    if len(set(values)) > 1:
        raise UserError(f"the results are of different {what} ({'; '.join(dict.fromkeys(values))}): {fix}")
    return values[0]
