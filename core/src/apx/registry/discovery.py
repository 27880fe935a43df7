"""Find the plugins on the path without running any of their code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import Failure
from .sources import METHODS_HOOK, Sources, read_sources

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "apx"
ENTRY_FILE = "taxonomy.json"


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `apx`, `name = value`, and the distribution that declares it."""

    distribution: str
    version: str
    name: str
    value: str

    @property
    def package(self) -> str:
        """The top-level package, the only one that may be looked up without running code."""
        return re.split(r"\W", self.value, maxsplit=1)[0]

    @property
    def entry_point(self) -> EntryPoint:
        """The entry point as `importlib.metadata` has it, which loads it."""
        from importlib.metadata import EntryPoint

        return EntryPoint(self.name, self.value, GROUP)

    @property
    def title(self) -> str:
        """The distribution with its version, as messages name it."""
        return f"{self.distribution} {self.version}"

    @property
    def key(self) -> str:
        """What tells this entry point from all others."""
        return f"{self.distribution}:{self.name}"

    def may_offer(self, hook: str) -> bool:
        """Say whether loading the plugin can bring this hook; its files are read, not run.

        A hook counts where a file of the package names it. Where none names any hook, hooks may still come from
        compiled files, from a `*` import, or with an object that the entry point names; and a package that cannot be
        read may offer anything: loading it then says what is wrong.
        """
        try:
            sources = self._sources
        except Exception:  # a file that cannot be read, or a stranger's import finder that raises anything
            return True
        if sources.hooks:
            return hook in sources.hooks
        return sources.opaque or bool(self.entry_point.attr)

    def offers_only_extensions(self) -> bool:
        """Say whether the package names hooks, and the one for methods is not among them; it is read, not run."""
        try:
            hooks = self._sources.hooks
        except OSError:
            return False
        return bool(hooks) and METHODS_HOOK not in hooks

    @cached_property
    def _sources(self) -> Sources:
        spec = _found(self)
        places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
        return read_sources(map(Path, places))

    def failure(self, what: str, message: str, pointer: str | None = None) -> Failure:
        """Return a failure that names this plugin's distribution."""
        return Failure(self.distribution, self.version, what, pointer, message)


def find_plugins() -> tuple[list[Plugin], list[Failure]]:
    """Return every plugin, by distribution name, and what kept a distribution from being read.

    Each distribution is read on its own, since `importlib.metadata.entry_points` lets one malformed file stop all.
    Of two copies of a distribution the first on the path counts, as it does for imports.
    """
    from importlib.metadata import distributions

    plugins: dict[str, list[Plugin]] = {}
    failures: list[Failure] = []
    for distribution in distributions():
        try:
            text = distribution.read_text("entry_points.txt")
            if text is None or f"[{GROUP}]" not in text:
                continue
            name, version = distribution.name, distribution.version
            plugins.setdefault(name, list(_plugins_of(distribution, name, version)))
        except Exception as error:  # metadata is a stranger's file: no fault of it may stop the listing
            failures.append(_unreadable(distribution, error))
    return [plugin for name in sorted(plugins) for plugin in plugins[name]], failures


def _plugins_of(distribution: Distribution, name: str, version: str) -> Iterator[Plugin]:
    for entry_point in distribution.entry_points:
        if entry_point.group == GROUP:
            if entry_point.pattern.match(entry_point.value) is None:
                raise ValueError(f"the entry point {entry_point.name!r} names no module: {entry_point.value!r}")
            yield Plugin(name, version, entry_point.name, entry_point.value)


def _unreadable(distribution: Distribution, error: Exception) -> Failure:
    folder = str(getattr(distribution, "_path", "an unnamed distribution"))  # the name itself may be what is broken
    advice = "reinstall or uninstall it, since it may keep torch from loading as well"  # torch and others read them all
    return Failure(Path(folder).name, "?", "distribution", None, f"its metadata cannot be read: {error!r}; {advice}")


def locate_entry(plugin: Plugin) -> Path | None:
    """Return the path of the plugin's `taxonomy.json`, None where its package has none.

    Raises ModuleNotFoundError as `locations` does.
    """
    return next((path for folder in locations(plugin) if (path := folder / ENTRY_FILE).is_file()), None)


def locations(plugin: Plugin) -> list[Path]:
    """Return the folders of the plugin's package, found without importing it.

    Raises ModuleNotFoundError where the package is not on the path or is a single file.
    """
    spec = _found(plugin)
    if not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{plugin.package!r} is a single module; a plugin is a package with {ENTRY_FILE}")
    return [Path(folder) for folder in spec.submodule_search_locations]


def _found(plugin: Plugin) -> ModuleSpec:
    spec = _find(plugin.package)
    if spec is None:
        raise ModuleNotFoundError(f"the package {plugin.package!r} that its entry point names is not installed")
    return spec


def _find(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except ValueError:  # a half-imported module in sys.modules has no spec
        return None
