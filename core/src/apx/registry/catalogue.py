"""The list of methods: every valid entry on the path, and every reason why another is not in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError
from .discovery import ENTRY_FILE, Plugin, find_plugins, locate_entry
from .failure import Failure
from .last_look import LastLook
from .method_entry import Entry, entry_from
from .verdicts import Verdicts


@dataclass(frozen=True)
class Catalogue:
    """Everything that one look at the path has found; no plugin code has run."""

    plugins: tuple[Plugin, ...]
    entries: tuple[Entry, ...]
    failures: tuple[Failure, ...]
    ambiguous: Mapping[str, Failure]  # slugs and keys that several distributions offer, in lower case
    rivals: Mapping[str, tuple[Entry, ...]]  # the entries that share each of them; none of them is listed

    def plugin_of(self, entry: Entry) -> Plugin:
        """Return the plugin whose package holds `entry`."""
        return next(plugin for plugin in self.plugins if plugin.key == entry.plugin)


@cache
def catalogue() -> Catalogue:
    """Return the catalogue of this process; the path is looked through once (see `forget`)."""
    look = _Look()
    found = look.read()
    rivals = _rivals(found)
    clashing = {one.plugin for group in rivals.values() for one in group}
    unique = sorted((one for one in found if one.plugin not in clashing), key=_slug)
    ambiguous = {value: _duplicate(value, group) for value, group in rivals.items()}
    failures = (*look.failures, *ambiguous.values())
    return Catalogue(tuple(look.plugins), tuple(unique), failures, ambiguous, rivals)


def forget() -> None:
    """Drop what was found, so that the next question looks at the path again."""
    catalogue.cache_clear()


def entries() -> list[Entry]:
    """Return every valid entry, by slug."""
    return list(catalogue().entries)


def entry(name: str) -> Entry:
    """Return the entry of a method, given its slug, its benchmark key or its name, in any case.

    Raises:
        UserError: there is none, two distributions offer it, or the entry of the distribution of that name is broken;
            the sentence names the nearest, both, or the fault.
    """
    wanted = name.casefold()
    by_spelling: dict[str, Entry] = {}
    for pick in (_name, _key, _slug):  # the slug is entered last: it wins
        by_spelling |= {pick(found).casefold(): found for found in catalogue().entries}
    if wanted in by_spelling:
        return by_spelling[wanted]
    if wanted in catalogue().ambiguous:
        raise UserError(catalogue().ambiguous[wanted].message)
    for failure in catalogue().failures:
        if failure.what == "entry" and failure.distribution.casefold().removeprefix("apx-") == wanted:
            raise UserError(f"the method '{name}' cannot be listed: {failure}")
    import difflib

    nearest = difflib.get_close_matches(wanted, by_spelling, n=1)
    hint = f", did you mean '{by_spelling[nearest[0]].slug}'?" if nearest else ";"
    raise UserError(f"there is no method '{name}'{hint} `apx list` shows all methods")


def _slug(found: Entry) -> str:
    return found.slug


def _key(found: Entry) -> str:
    return found.key or found.slug


def _name(found: Entry) -> str:
    return found.name


class _Look:
    """One look at the path: the plugins, their entries, and what is wrong with the others."""

    def __init__(self) -> None:
        self._last = LastLook()
        self._verdicts = Verdicts()
        known = self._last.plugins
        self.plugins, self.failures = find_plugins() if known is None else (known, [])
        self._valid: dict[Plugin, str] = {}

    def read(self) -> list[Entry]:
        """Return the valid entries, one per package, and remember what was found."""
        all_readable = not self.failures
        found: list[Entry] = []
        packages = {(plugin.distribution, plugin.package): plugin for plugin in self.plugins}
        for plugin in packages.values():
            document, faults = self._document(plugin)
            self.failures += faults
            if document is not None:
                source = {"plugin": plugin.key, "distribution": plugin.distribution, "version": plugin.version}
                found.append(entry_from(document, **source))
        self._verdicts.save()
        if all_readable:  # a distribution that is not may be mended by a file that no mark tells of
            self._last.note(self.plugins, self._valid)
        return found

    def _document(self, plugin: Plugin) -> tuple[dict[str, Any] | None, list[Failure]]:
        """Return a plugin's valid entry as parsed, or why it has none. A plugin without a method has neither."""
        known = self._last.valid_entry(plugin)
        try:
            file = Path(known) if known is not None else locate_entry(plugin)
            if file is None:
                return None, _missing(plugin)
            content = file.read_bytes()
            document = json.loads(content)
        except ModuleNotFoundError as error:
            return None, [plugin.failure("entry", str(error))]
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            return None, [plugin.failure("entry", f"its {ENTRY_FILE} cannot be read: {error}")]
        except Exception as error:  # a stranger's import finder may raise anything
            return None, [plugin.failure("entry", f"its package {plugin.package!r} cannot be found: {error!r}")]
        faults = [] if known is not None else self._verdicts.of(content, document)
        if faults:
            return None, [plugin.failure("entry", message, pointer) for pointer, message in faults]
        self._valid[plugin] = str(file)
        return document, []


def _missing(plugin: Plugin) -> list[Failure]:
    """A package without an entry is at fault only if it offers a method: data sets and the like need none."""
    if plugin.offers_only_extensions():
        return []
    return [plugin.failure("entry", f"its package {plugin.package!r} has no {ENTRY_FILE}")]


def _rivals(found: list[Entry]) -> dict[str, tuple[Entry, ...]]:
    """Return the entries that share a slug or a key, by it: a benchmark must not choose between them in silence."""
    rivals: dict[str, tuple[Entry, ...]] = {}
    for pick in (_slug, lambda one: one.key):
        groups: dict[str, list[Entry]] = {}
        for one in found:
            value = pick(one)
            if value is not None:
                groups.setdefault(value.casefold(), []).append(one)
        rivals |= {value: tuple(group) for value, group in groups.items() if len(group) > 1}
    return rivals


def _duplicate(value: str, group: tuple[Entry, ...]) -> Failure:
    last = group[-1]
    what, spelling = ("slug", last.slug) if last.slug == value else ("key", last.key)
    owners = " and ".join(f"{one.distribution} {one.version}" for one in group)
    message = f"the {what} '{spelling}' is offered by {owners}: uninstall all but one of them"
    return Failure(last.distribution, last.version, "duplicate", f"/{what}", message)
