"""One TensorBoard event file, written through tensorboardX without the queue and thread of its `SummaryWriter`.

Its `flush` does not wait for that queue, so that a kill would lose points whose epoch is not trained again.
"""

import time
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

FOLDER = "tensorboard"
"""Where the event files of a run lie, in its directory."""


def points(record: Mapping[str, Any]) -> dict[str, float]:
    """Return curve -> value of an epoch's record: its numbers as `PHASE/loss`, `PHASE/lr`, ..."""
    numbers = {name: float(v) for name, v in record.items() if name != "epoch" and isinstance(v, Real)}
    return {f"{record['phase']}/{name}": number for name, number in numbers.items()}


class EventFile:
    """A new file in `folder` that begins by calling off all points of older files from `first_step` on."""

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(exist_ok=True)
        # the suffix tells apart files of the same second, in the order of their steps
        self._writer = EventsWriter(str(folder / "events"), f".{first_step:06d}")
        self._add(first_step, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one point of each curve; they are on disk when this returns."""
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(step, summary=Summary(value=points))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _add(self, step: int, **content: SessionLog | Summary) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))
        self._writer.flush()
