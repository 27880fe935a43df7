"""Where apx keeps its files, and how it writes them so that a kill leaves the old file or the new one."""

import os
import uuid
from pathlib import Path


def home() -> Path:
    """Return the cache folder: `$APX_HOME`, else the platform's cache directory."""
    if chosen := os.environ.get("APX_HOME"):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("apx")


def atomic_write(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader or a crash sees the old file or the whole new one.

    The bytes go to a temporary file beside `path`, are synced, and the file is renamed; the folder is synced last,
    so that the rename itself survives a power cut.
    """
    _write_and_rename(path, content, sync=True)
    _sync_folder(path.parent)


def write_unsynced(path: Path, content: bytes) -> None:
    """Write `content` to `path`, safe from this process's end at any moment, but not from a power cut: see `settle`."""
    _write_and_rename(path, content, sync=False)


def settle(path: Path, name: str) -> None:
    """Make a file of `write_unsynced` as safe as one of `atomic_write`, under `name` in its folder."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(path, path.with_name(name))
    _sync_folder(path.parent)


def _write_and_rename(path: Path, content: bytes, *, sync: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    # not by tempfile, whose files nobody else may read: a figure is for others too
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder for syncing
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
