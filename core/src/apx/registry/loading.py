"""The one host of plugins in this process, and methods loaded through it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..errors import UserError
from .catalogue import catalogue, entry, forget
from .failure import Failure

if TYPE_CHECKING:
    from ..method import Method
    from .host import Host


@cache
def host() -> Host:
    """Return this process's host of plugins."""
    from .host import Host

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
    from .offers import PluginError, method_classes, method_of

    found = entry(name)
    if not found.implemented:
        raise UserError(
            f"{found.name} is entry-only: its taxonomy is known, its code is not part of {found.distribution}; "
            f"`apx list --implemented` shows the methods that run"
        )
    try:
        classes = method_classes(host().call("apx_methods", catalogue().plugin_of(found)))
        return method_of(found.slug, found.implements.stage, classes)
    except PluginError as error:
        owner = f"the plugin {found.distribution} {found.version}"
        raise UserError(f"{owner}, which provides '{found.slug}', is broken: {error}") from error
