"""What is wrong with a plugin, as a value: the registry reports it and goes on."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 20  # characters of a version that a message repeats


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


def other_api(written: object, spoken: str) -> str:
    """Return the sentence for what was written for another version of the interface between apx and plugins."""
    return (
        f"it was written for version {str(written)[:_SHOWN]} of apx's plugin API, "
        f"and this apx speaks version {spoken}: install a release of the plugin for version {spoken}, "
        f"or an apx that speaks its version"
    )
