"""One job beside the training: syncing a large file takes seconds in which nothing has to wait."""

import threading
from collections.abc import Callable


class BackgroundJob:
    """Runs one job at a time in a thread; an error surfaces at the next call, in the run's own thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Wait for the job before, then start `job`."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,))
        self._thread.start()

    def wait(self) -> None:
        """Return once the job submitted last has ended.

        Raises:
            OSError: or whatever else the job raised.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error
