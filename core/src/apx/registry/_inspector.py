"""The child process of an inspection: it runs plugins' code and writes one line of JSON about each.

The lines go to a copy of stdout that only this module knows; what plugins print goes to a file that nobody reads.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .discovery import Plugin
from .host import Host, core_offers
from .offers import PluginError, described, method_classes, method_of, named_things, not_loaded
from .sources import EXTENSION_HOOKS, METHODS_HOOK

Answer = dict[str, Any]


def work(task: dict[str, Any]) -> None:
    """Do a task as `inspection` gives it: take `step` (import or ask) with each of `plugins`; the process ends here."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with tempfile.TemporaryFile() as screen:
        os.dup2(screen.fileno(), 1)

        def say(answer: Answer) -> None:
            lines.write(json.dumps(answer) + "\n")
            lines.flush()

        (_import_all if task["step"] == "import" else _ask_all)(task["plugins"], say, screen.fileno())
    os._exit(0)  # threads and exit handlers that plugins have left behind have nothing to say any more


def _import_all(plugins: list[Answer], say: Callable[[Answer], None], screen: int) -> None:
    say({})
    sys.meta_path.insert(0, _Watch(say))
    for plugin in plugins:
        before = _printed(screen)
        fault = None
        try:
            _plugin(plugin).entry_point.load()
        except BaseException as error:  # `SystemExit` and whatever else a stranger's module raises
            fault = not_loaded(error)
        torch = "torch" in sys.modules
        say({"fault": fault, "torch": torch, "prints": _printed(screen) > before})
        if torch:
            return  # whether the next plugin imports it, a process without torch can tell


class _Watch:
    """Finds nothing; says when torch is looked for, whose import takes seconds that are no sign of a hang."""

    def __init__(self, say: Callable[[Answer], None]) -> None:
        self._say = say

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            self._say({"wait": True})


def _printed(screen: int) -> int:
    """Return how many bytes have been printed so far, through Python or past it."""
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(Exception):  # a plugin may have closed it, or put anything in its place
            stream.flush()  # type: ignore[union-attr]
    return os.fstat(screen).st_size


def _ask_all(plugins: list[Answer], say: Callable[[Answer], None], screen: int) -> None:
    try:
        from ..method import Method  # noqa: F401 - torch's import is no plugin's fault, nor shall it cost one its time

        say({"core": {hook: list(core_offers(hook)) for hook in EXTENSION_HOOKS}})
    except Exception as error:
        say({"error": described(error)})
        return
    host = Host()
    for plugin in plugins:
        say(_asked(host, plugin))


def _asked(host: Host, task: Answer) -> Answer:
    plugin = _plugin(task)
    try:
        host.load(plugin)
    except PluginError as error:
        return {"offers": {}, "faults": [["load", str(error)]]}
    offers: dict[str, list[str]] = {}
    faults: list[list[str]] = []
    try:
        offers[METHODS_HOOK] = _methods(host, plugin, task)
    except PluginError as error:
        faults.append(["hook", str(error)])
    for hook in EXTENSION_HOOKS:
        try:
            things, wrong = named_things(hook, host.call(hook, plugin))
        except PluginError as error:
            things, wrong = {}, [str(error)]
        offers[hook] = list(things)
        faults += [["hook", sentence] for sentence in wrong]
    return {"offers": offers, "faults": faults}


def _methods(host: Host, plugin: Plugin, task: Answer) -> list[str]:
    classes = method_classes(host.call(METHODS_HOOK, plugin))
    if task["slug"] is not None:
        method_of(task["slug"], task["stage"], classes)
    return [str(getattr(one, "slug", None)) for one in classes]


def _plugin(task: Answer) -> Plugin:
    return Plugin(task["distribution"], task["version"], task["name"], task["value"])
