"""While a plugin's code runs in this process: nothing of it reaches stdout, and a slow one is named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

IMPORT_PATIENCE = 10.0
"""Seconds after which a user is told which plugin is being imported."""
HOOK_PATIENCE = 30.0
"""Seconds after which a user is told which plugin's hook is awaited; the first hook may import torch, which is slow."""


@contextmanager
def guarded(title: str, doing: str, patience: float) -> Iterator[None]:
    """Send what the code inside prints to stderr; after `patience` seconds say there that `title` is still `doing`."""
    import threading  # listing, which runs no plugin code, does without

    sentence = f"the plugin {title} has been {doing} for {patience:g} s; if it hangs, uninstall it"
    timer = threading.Timer(patience, _say, [sentence])
    timer.daemon = True
    timer.start()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        timer.cancel()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
