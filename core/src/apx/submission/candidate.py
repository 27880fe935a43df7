"""A run that may be submitted: its evaluation, its network, its place on a board."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from apx_taxonomy import ModelKey, ModelKeyError, validate

from ..errors import UserError
from ..registry import Entry, entry
from ..runs import REPORT, RunFolder, evaluations_of, open_run

if TYPE_CHECKING:
    from ..target import Opened

Board = Literal["benchmark", "lab"]
BOARDS = ("benchmark", "lab")
"""`benchmark`: what the AP benchmark of 2024 lists, by its keys. `lab`: any network and data, by a name."""

AUTOATTACK = ("apgd-ce", "apgd-t", "fab-t", "square")
"""Attacks of AutoAttack's standard version; an evaluation that has them all is complete."""


@dataclass(frozen=True)
class Candidate:
    """A finished run with what a submission says of it.

    Attributes:
        run: the run directory.
        board: where it is to be listed.
        entry: of its method.
        evaluation: the results document of AutoAttack on the most images; None without one.
        measured: the latest results document with distances to the boundary; None without one.
    """

    run: RunFolder
    board: Board
    entry: Entry
    evaluation: Mapping[str, Any] | None
    measured: Mapping[str, Any] | None

    @property
    def report(self) -> Mapping[str, Any]:
        """The content of `report.json`."""
        assert self.run.report is not None  # as `open_candidates` sees to
        return self.run.report

    @property
    def arch(self) -> str:
        """The network's architecture."""
        return str(self.run.request.get("arch"))

    @property
    def dataset(self) -> str:
        """The data set, as the user named it."""
        return str(self.run.request.get("dataset"))

    @property
    def structure(self) -> str:
        """US or S."""
        return str(self.run.record["variant"].get("structure"))

    @property
    def percent(self) -> float:
        """What was asked to be removed, in percent of the variant's unit."""
        return round(100 * float(self.report["sparsity"]["requested"]), 6)

    @property
    def group(self) -> tuple[str, str, str]:
        """Architecture, data and structure: what three sparsities belong to."""
        return self.arch, self.dataset, self.structure

    @cached_property
    def opened(self) -> Opened:
        """The network with its weights; opening is strict.

        Raises:
            UserError: the weights do not fit, or the data are not there.
        """
        from ..target import open_target

        return open_target(self.run.path)

    @property
    def key(self) -> ModelKey:
        """The benchmark's key.

        Raises:
            UserError: there is none for this method, network, data or sparsity.
        """
        method = self.entry.key or self.entry.slug
        try:
            return ModelKey.of(
                method=method, arch=self.arch, dataset=self.dataset, structure=self.structure, sparsity=self.percent
            )
        except ModelKeyError as error:
            raise UserError(f"{self.run.path} has no key on the benchmark's board: {error}") from error

    @property
    def name(self) -> str:
        """What the bundle calls its files: the key, or method, network, data, structure and percent."""
        if self.board == "benchmark":
            return str(self.key)
        words = (self.entry.slug, self.arch, self.dataset, self.structure, f"{self.percent:g}")
        return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-") for word in words)


def open_candidates(paths: Sequence[Path], board: Board = "benchmark") -> list[Candidate]:
    """Return the runs at `paths` as candidates.

    Raises:
        UserError: none are given, one is no finished run, its method's plugin is not installed, another board.
    """
    if board not in BOARDS:
        raise UserError(f"unknown board '{board}': choose one of {', '.join(BOARDS)}")
    if not paths:
        raise UserError("no runs are given: name at least three run directories")
    return [_candidate(open_run(path), board) for path in paths]


def _candidate(run: RunFolder, board: Board) -> Candidate:
    if run.report is None:
        raise UserError(f"the run {run.path} has not ended: finish it with `apx run --resume {run.path}` first")
    if found := validate(run.report, "report"):
        raise UserError(f"{run.path / REPORT} is no report of a run ({found[0]}): make the run again")
    documents = [run.report["results"].get("pruned"), *evaluations_of(run).values()]
    own = [one for one in documents if one is not None and "source" not in one and one["split"] == "test"]
    complete = [one for one in own if attacked_by_autoattack(one)]
    measured = [one for one in own if any(sample["distance"] is not None for sample in one["samples"])]
    return Candidate(
        run,
        board,
        entry(str(run.request.get("method"))),
        max(complete, key=lambda one: (one["n"], str(one.get("created"))), default=None),
        measured[-1] if measured else None,
    )


def attacked_by_autoattack(document: Mapping[str, Any]) -> bool:
    """Say whether a results document has all of AutoAttack's standard version."""
    return set(AUTOATTACK) <= {attack["name"] for attack in document["attacks"]}
