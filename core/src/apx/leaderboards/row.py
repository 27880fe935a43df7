"""One line of a leaderboard, whatever it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Source = Literal["published", "local"]


@dataclass(frozen=True)
class Score:
    """An accuracy in percent, with its 95 % interval where it is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """A method on one architecture, data set, structure and sparsity.

    Attributes:
        source: `published` (a printed table) or `local` (a run, or a file of submitted results).
        place: the published table's name, or the run directory or file.
        method: slug.
        name: the method as it is printed.
        dataset, arch, structure: what was pruned and how; structure is `US` or `S`, None where a file does not say.
        sparsity: percent removed, of `unit`, as it was asked for.
        unit: what `sparsity` is a share of: `weights`, `filters`, `channels`, `kernels`, `macs`; None where unknown.
        own: percent of the units that are removed indeed; None where unknown.
        reported: percent of all convolution and linear weights that are zero; None where unknown.
        clean, robust: accuracies; None where a dash is printed, or nothing was measured.
        attack: what robust accuracy was measured with.
        protocol: of the evaluation.
        norm, eps: the threat.
        n: evaluated images; None where unknown.
        selected_on: the split that chose the checkpoint: `val`, `test`, `none`, or None where unknown.
        bold: printed in bold by the published table.
        flops: percent of the operations left after physical removal; None where nothing was removed or it is unknown.
        milliseconds: of one image on the CPU, by `apx bench`; None where not measured.
        differs: what keeps a local row from being compared with the published ones, in short phrases.
        remarks: footnotes, in sentences.
    """

    source: Source
    place: str
    method: str
    name: str
    dataset: str
    arch: str
    structure: str | None
    sparsity: float
    clean: Score | None
    robust: Score | None
    attack: str
    protocol: str
    norm: str
    eps: float
    unit: str | None = None
    own: float | None = None
    reported: float | None = None
    n: int | None = None
    selected_on: str | None = None
    bold: bool = False
    flops: float | None = None
    milliseconds: float | None = None
    differs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; a score is an object of value, low and high."""
        return {**asdict(self), "differs": list(self.differs), "remarks": list(self.remarks)}
