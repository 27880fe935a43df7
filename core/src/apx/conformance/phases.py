"""What a phase's path means."""

import re

_ROUND = re.compile(r"^round-\d+/")


def kind(phase: str) -> str:
    """Return the pipeline's word for a phase: `round-2/prune/scores` is `prune`; empty outside all phases."""
    return _ROUND.sub("", phase).split("/")[0]
