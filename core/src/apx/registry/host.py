"""Run plugin code: import one plugin, register it with pluggy, ask it for what it offers; each step guarded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import API_VERSION
from .catalogue import catalogue
from .discovery import Plugin
from .failure import Failure, other_api
from .guard import HOOK_PATIENCE, IMPORT_PATIENCE, guarded
from .offers import PluginError, described, named_things, not_loaded, taken

if TYPE_CHECKING:
    from pluggy import PluginManager

CORE = "apx-core"


class Host:
    """The plugins that are loaded in this process, and what went wrong with the others."""

    def __init__(self) -> None:
        import pluggy

        from .. import hookspecs

        self.manager: PluginManager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[Failure] = []
        self._modules: dict[str, object] = {}
        self._faults: dict[str, str] = {}

    def load(self, plugin: Plugin) -> object:
        """Import and register a plugin, once.

        Raises:
            PluginError: its module does not import (for any reason, `SystemExit` included), says that it was written
                for another version of the interface, or is refused by pluggy.
        """
        key = plugin.key
        if key in self._faults:
            raise PluginError(self._faults[key])
        if key not in self._modules:
            try:
                with guarded(plugin.title, "importing", IMPORT_PATIENCE):
                    module = plugin.entry_point.load()
                _check_api(module)
                self.manager.register(module, key)
                self.manager.check_pending()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # `SystemExit` and whatever else a stranger's module raises
                if self.manager.has_plugin(key):  # imported, but pluggy refuses its hooks
                    self.manager.unregister(name=key)
                self._faults[key] = not_loaded(error)
                self.failures.append(plugin.failure("load", self._faults[key]))
                raise PluginError(self._faults[key]) from error
            self._modules[key] = module
        return self._modules[key]

    def call(self, hook: str, plugin: Plugin) -> Any:
        """Load a plugin and return what it answers to one hook, None where it does not implement it.

        Raises:
            PluginError: it cannot be loaded, or the hook raised.
        """
        module = self.load(plugin)
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            if implementation.plugin is module:
                try:
                    with guarded(plugin.title, f"answering {hook}", HOOK_PATIENCE):
                        return _copied(implementation.function())
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # `SystemExit` and whatever else a stranger's hook raises
                    raise PluginError(f"{hook} failed: {described(error)}") from error
        return None

    def merged(self, hook: str) -> dict[str, Any]:
        """Return what core and the plugins answer to a hook that names things; faults go to `failures`.

        A plugin that does not name the hook is not loaded: if it is broken or hangs, that is no affair of this call.
        """
        merged: dict[str, Any] = core_offers(hook)
        owners = dict.fromkeys(merged, CORE)
        for plugin in catalogue().plugins:
            if not plugin.may_offer(hook):
                continue
            try:
                offered, wrong = named_things(hook, self.call(hook, plugin))
            except PluginError as error:
                self._note(plugin, str(error))
                continue
            for sentence in wrong:
                self._note(plugin, sentence)
            for name, value in offered.items():
                if name in owners:
                    self._note(plugin, taken(hook, name, owners[name]))
                else:
                    merged[name], owners[name] = value, plugin.distribution
        return merged

    def _note(self, plugin: Plugin, message: str) -> None:
        told = any(known.distribution == plugin.distribution and known.message == message for known in self.failures)
        if not told:
            self.failures.append(plugin.failure("hook", message))


def _check_api(module: object) -> None:
    written = getattr(module, "apx_api", API_VERSION)  # an entry states it as well, and was read before
    if written != API_VERSION:
        raise PluginError(other_api(written, API_VERSION))


def core_offers(hook: str) -> dict[str, Any]:
    """Return what core itself answers to a hook that names things."""
    from .. import builtin

    own = getattr(builtin, hook, None)
    return {} if own is None else dict(own())


def _copied(answer: Any) -> Any:
    """Copy an answer, so that what a lazy mapping or list does when it is read is done under guard."""
    if isinstance(answer, Mapping):
        return dict(answer)
    return list(answer) if isinstance(answer, list | tuple) else answer
