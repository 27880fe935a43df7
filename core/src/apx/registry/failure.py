"""What is wrong with a plugin, as a value: the registry reports it and goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """One fault of one distribution.

    `what` is the part that failed: `distribution`, `entry`, `duplicate`, `load` or `hook`. `pointer` is the JSON
    pointer into the entry, where the fault has a place there.
    """

    distribution: str
    version: str
    what: str
    pointer: str | None
    message: str

    def __str__(self) -> str:
        place = f" at {self.pointer}" if self.pointer else ""
        return f"{self.distribution} {self.version}: {self.what}{place}: {self.message}"
