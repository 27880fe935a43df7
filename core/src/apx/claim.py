"""One process at a time works in a run directory: a requeued job may start while the old one is still ending."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError

_LOCK = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder` inside; a kill ends the claim too.

    On a file system without locks the file itself is the claim, and one that a kill has left has to be deleted.

    Raises:
        UserError: another process works there.
    """
    from filelock import FileLock, Timeout

    file = folder / _LOCK
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"another process works in {folder}: wait for it, or stop it first; if there is none, delete {file}"
        ) from None
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows keeps an open file; the lock deletes its own there
            file.unlink(missing_ok=True)
        lock.release()
