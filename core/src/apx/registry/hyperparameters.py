"""The values of a method's paper preset with where each comes from, as its entry lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hyperparameter:
    """One value of the preset `paper`; with data sets or architectures, it holds for those alone.

    `setting` is the name that `--set` takes, `value` as the entry writes it (a radius may read "8/255").
    """

    setting: str
    value: Any
    source: str
    datasets: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()

    def applies(self, dataset: str, arch: str) -> bool:
        """Say whether the value holds for a data set and an architecture."""
        return (not self.datasets or dataset in self.datasets) and (
            not self.architectures or arch in self.architectures
        )


def hyperparameters_from(groups: Iterable[Mapping[str, Any]]) -> tuple[Hyperparameter, ...]:
    """Read the groups of an entry: the method's own settings, then phase by phase, each in order of first mention.

    What overrides a value for some data or networks stands behind it.
    """
    found: dict[str, list[Hyperparameter]] = {}
    for group in groups:
        datasets, architectures = (tuple(group.get(name, ())) for name in ("datasets", "architectures"))
        for setting, value in group["settings"].items():
            held = found.setdefault(setting, [])
            if not (datasets or architectures):
                held.clear()  # what holds for all overrides whatever stood there
            held.append(Hyperparameter(setting, value, group["source"], datasets, architectures))
    phases = list(dict.fromkeys(["", *map(_phase, found)]))
    ordered = sorted(found, key=lambda setting: phases.index(_phase(setting)))
    return tuple(one for setting in ordered for one in found[setting])


def values_for(hyperparameters: Iterable[Hyperparameter], dataset: str, arch: str) -> dict[str, Any]:
    """Return setting -> value for one data set and architecture; the last that applies counts."""
    return {one.setting: one.value for one in hyperparameters if one.applies(dataset, arch)}


def _phase(setting: str) -> str:
    phase, dot, _ = setting.partition(".")
    return phase if dot else ""
