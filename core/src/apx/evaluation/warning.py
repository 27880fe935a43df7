"""What makes an evaluation doubtful, as fields of the results document."""

from typing import Any

TEXTS = {
    "few-classes": "the model has {count} classes: AutoAttack needs at least 4",
    "outside-the-box": "{count} values of the images lay outside [0, 1] and were clipped: normalise inside the model",
    "out-of-memory": "out of memory: the batch was halved to {count} images",
    "partial": "evaluated on {count} samples, fewer than the split has: read the interval",
    "probabilities": "the model returns probabilities, not logits: the result is too optimistic",
    "randomised": "the model is randomised (two passes differ): the result is too optimistic",
    "rejected": "{count} images left the threat model and did not count: the attack is broken",
    "train-mode": "the model was in train mode: it was evaluated in eval mode",
    "zero-gradient": "{count} samples have a zero gradient: gradient attacks are blind, the result is too optimistic",
}
"""Name of a warning -> its sentence."""


class Warnings:
    """The warnings of one evaluation, each named once; of one that comes again the larger count stays."""

    def __init__(self) -> None:
        self._counts: dict[str, int | None] = {}

    def add(self, name: str, count: int | None = None) -> None:
        """Note a warning of `TEXTS`."""
        earlier = self._counts.get(name)
        self._counts[name] = count if earlier is None else max(earlier, count or 0)

    def records(self) -> list[dict[str, Any]]:
        """Return name, text and, where there is one, count of each, for the document."""
        return [_record(name, count) for name, count in self._counts.items()]

    def __contains__(self, name: str) -> bool:
        return name in self._counts


def _record(name: str, count: int | None) -> dict[str, Any]:
    number = {} if count is None else {"count": count}
    return {"name": name, "text": TEXTS[name].format(count="some" if count is None else f"{count:,}"), **number}
