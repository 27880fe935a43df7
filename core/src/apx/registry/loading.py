"""Run plugin code: import one plugin, register it with pluggy, ask it for what it offers; each step guarded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .catalogue import catalogue, entry, forget
from .discovery import Plugin
from .failure import Failure
from .method_entry import Entry

if TYPE_CHECKING:
    from pluggy import PluginManager

    from ..method import Method

CORE = "apx-core"


class PluginError(Exception):
    """A plugin's own code failed; the sentence names the error, the failure names the distribution."""


class Host:
    """The plugins that are loaded in this process, and what went wrong with the others."""

    def __init__(self) -> None:
        import pluggy

        from .. import builtin, hookspecs

        self.manager: PluginManager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.manager.register(builtin, CORE)
        self.failures: list[Failure] = []
        self._modules: dict[str, object] = {}
        self._faults: dict[str, str] = {}

    def load(self, plugin: Plugin) -> object:
        """Import and register a plugin, once.

        Raises:
            PluginError: its module does not import (for any reason, `SystemExit` included), or pluggy refuses it.
        """
        value = f"{plugin.distribution}:{plugin.entry_point.name}"
        if value in self._faults:
            raise PluginError(self._faults[value])
        if value not in self._modules:
            try:
                module = plugin.entry_point.load()
                self.manager.register(module, value)
                self.manager.check_pending()
            except (Exception, SystemExit) as error:
                if self.manager.has_plugin(value):  # imported, but pluggy refuses its hooks
                    self.manager.unregister(name=value)
                self._faults[value] = f"it cannot be loaded: {_describe(error)}"
                self.failures.append(plugin.failure("load", self._faults[value]))
                raise PluginError(self._faults[value]) from error
            self._modules[value] = module
        return self._modules[value]

    def call(self, hook: str, module: object) -> Any:
        """Return what one plugin answers to one hook, None where it does not implement it.

        Raises:
            PluginError: the hook raised.
        """
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            if implementation.plugin is module:
                try:
                    return implementation.function()
                except (Exception, SystemExit) as error:
                    raise PluginError(f"{hook} failed: {_describe(error)}") from error
        return None

    def merged(self, hook: str) -> dict[str, Any]:
        """Return what core and all plugins answer to a hook that names things; faults go to `failures`."""
        from .. import builtin

        merged: dict[str, Any] = dict(self.call(hook, builtin) or {})
        owners = dict.fromkeys(merged, CORE)
        for plugin in catalogue().plugins:
            try:
                offered = self.call(hook, self.load(plugin)) or {}
            except PluginError as error:
                self._note(plugin.failure("hook", str(error)))
                continue
            if not isinstance(offered, Mapping):
                self._note(plugin.failure("hook", f"{hook} returned {type(offered).__name__}, not a dict"))
                continue
            for name, value in offered.items():
                if name in owners:
                    self._note(plugin.failure("hook", f"{hook}: the name '{name}' belongs to {owners[name]} already"))
                else:
                    merged[name], owners[name] = value, plugin.distribution
        return merged

    def _note(self, failure: Failure) -> None:
        told = any(
            known.distribution == failure.distribution and known.message == failure.message for known in self.failures
        )
        if not told:
            self.failures.append(failure)


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@cache
def host() -> Host:
    """Return this process's host of plugins."""
    return Host()


def refresh() -> None:
    """Look at the path again, after a distribution has been installed or `sys.path` has changed."""
    forget()
    host.cache_clear()


def failures() -> list[Failure]:
    """Return every fault found so far: of entries, and of the plugins that were loaded."""
    loaded = host().failures if host.cache_info().currsize else []
    return [*catalogue().failures, *loaded]


def load_method(name: str) -> type[Method]:
    """Return the class of a method, importing its plugin and no other.

    Raises:
        UserError: there is no such method, nothing of it is implemented, or its plugin is broken; the sentence
            names the distribution.
    """
    found = entry(name)
    owner = f"the plugin {found.distribution} {found.version}"
    if not found.implemented:
        raise UserError(
            f"{found.name} is entry-only: its taxonomy is known, its code is not part of {found.distribution}; "
            f"`apx list --implemented` shows the methods that run"
        )
    try:
        module = host().load(catalogue().plugin_of(found))
        offered = host().call("apx_methods", module)
    except PluginError as error:
        raise UserError(f"{owner}, which provides '{found.slug}', is broken: {error}") from error
    return _method_of(found, owner, offered)


def _method_of(found: Entry, owner: str, offered: Any) -> type[Method]:
    from ..method import Method

    classes = list(offered) if isinstance(offered, list | tuple) else []
    for candidate in classes:
        if not (isinstance(candidate, type) and issubclass(candidate, Method)):
            raise UserError(f"{owner} is broken: apx_methods returned {candidate!r}, which is not a class of Method")
    for candidate in classes:
        if getattr(candidate, "slug", None) == found.slug:
            if candidate.stage != found.implements.stage:
                raise UserError(
                    f"{owner} is broken: the stage of {candidate.__name__} is '{candidate.stage}', that of its entry "
                    f"is '{found.implements.stage}'"
                )
            return candidate
    raise UserError(f"{owner} is broken: apx_methods returned no class with slug = '{found.slug}'")
