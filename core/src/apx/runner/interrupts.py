"""Ctrl-C and SIGTERM end a run at the next step, after a checkpoint."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import ApxError


class Interrupted(ApxError):  # noqa: N818 - not an error of the run
    """A signal ended the run after its state was saved; `exit_status` is the shell's convention for the signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_status = 128 + signum


class Interrupts:
    """Remembers the first signal; a second one acts at once."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def pending(self) -> bool:
        """Say whether a signal has arrived."""
        return self.signum is not None

    def stop(self) -> None:
        """Raise `Interrupted`; the state has been saved."""
        raise Interrupted(self.signum or signal.SIGINT)

    @contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        """Catch SIGINT and SIGTERM inside (in the main thread; elsewhere signals cannot be caught)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def handle(signum: int, frame: FrameType | None) -> None:
            self.signum = signum
            signal.signal(signum, before[signal.Signals(signum)])

        try:
            for number in before:
                signal.signal(number, handle)
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
