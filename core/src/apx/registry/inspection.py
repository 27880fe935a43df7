"""Look at every plugin closely: what it offers, what fails and why. Its code runs in a child process alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from .catalogue import Catalogue, catalogue
from .child import CoreError, NoAnswerError, interrogate
from .discovery import ENTRY_FILE, Plugin
from .failure import Failure
from .host import CORE
from .method_entry import Entry
from .offers import taken
from .sources import EXTENSION_HOOKS, HOOKS, METHODS_HOOK

KINDS = tuple(hook.removeprefix("apx_") for hook in HOOKS)
"""What a plugin may offer: methods, architectures, datasets, objectives, criteria, attacks, observers, commands."""

_PROGRAM = "the apx program"
_TORCH = (
    "it imports torch when it is imported, which makes apx slow to start where it is loaded: "
    "import torch inside the hook or in the module of the method"
)
_PRINTS = "it prints when it is imported; apx keeps that away from stdout"


@dataclass(frozen=True)
class Inspected:
    """One distribution with plugins.

    `offers` has all of `KINDS`, each with the names that apx accepts from this distribution: a method counts where
    it is listed and, unless it is entry-only, its class is sound. `remarks` are oddities that do no harm.
    """

    distribution: str
    version: str
    packages: tuple[str, ...]
    offers: Mapping[str, tuple[str, ...]]
    failures: tuple[Failure, ...]
    remarks: tuple[str, ...]


def inspect(*, timeout: float = 20.0, own_commands: Collection[str] = ()) -> tuple[Inspected, ...]:
    """Return every distribution with plugins, by name.

    Plugins are imported and asked in child processes, so that one that hangs, exits or crashes harms nobody: it is
    reported, and a new process goes on with the next.

    Args:
        timeout: seconds that a plugin may take to be imported, and once more to answer its hooks.
        own_commands: names of commands that a plugin's cannot replace.

    Where apx itself does not load (torch is missing, say), no plugin can be asked: apx-core then stands among the
    distributions, with that failure.
    """
    found = catalogue()
    drafts = _drafts(found)
    imported = _import(found.plugins, drafts, timeout)
    try:
        _ask(imported, found, drafts, timeout, own_commands)
    except CoreError as error:
        drafts[CORE] = _broken_core(str(error))
    return tuple(drafts[name].finished() for name in sorted(drafts))


@dataclass
class _Draft:
    """An `Inspected` in the making."""

    distribution: str
    version: str
    packages: list[str] = field(default_factory=list)
    offers: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    failures: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def finished(self) -> Inspected:
        """Return what was found, each thing once."""
        offers = {kind: tuple(dict.fromkeys(names)) for kind, names in self.offers.items()}
        return Inspected(
            self.distribution,
            self.version,
            tuple(dict.fromkeys(self.packages)),
            offers,
            tuple(dict.fromkeys(self.failures)),
            tuple(dict.fromkeys(self.remarks)),
        )


def _drafts(found: Catalogue) -> dict[str, _Draft]:
    """Return a draft of each distribution with what the catalogue knows: what is listed, and what is wrong with it."""
    drafts: dict[str, _Draft] = {}

    def draft(source: Plugin | Failure) -> _Draft:
        return drafts.setdefault(source.distribution, _Draft(source.distribution, source.version))

    for plugin in found.plugins:
        draft(plugin).packages.append(plugin.package)
    for entry in found.entries:
        if not entry.implemented:
            drafts[entry.distribution].offers["methods"].append(entry.slug)
    for failure in found.failures:
        if failure.what != "duplicate":
            draft(failure).failures.append(failure)
    for value, rivals in found.rivals.items():  # told of each of them, since none of them is listed
        for one in rivals:
            failure = replace(found.ambiguous[value], distribution=one.distribution, version=one.version)
            drafts[one.distribution].failures.append(failure)
    return drafts


def _import(plugins: Sequence[Plugin], drafts: Mapping[str, _Draft], timeout: float) -> list[Plugin]:
    """Import the plugins; return those that can be."""
    tasks = [_task(plugin, None) for plugin in plugins]
    _, answers = interrogate("import", tasks, doing="importing", timeout=timeout)
    imported = []
    for plugin, answer in zip(plugins, answers, strict=True):
        draft = drafts[plugin.distribution]
        if isinstance(answer, NoAnswerError):
            draft.failures.append(plugin.failure("load", f"it {answer}"))
            continue
        draft.remarks += [remark for key, remark in (("torch", _TORCH), ("prints", _PRINTS)) if answer[key]]
        if answer["fault"] is None:
            imported.append(plugin)
        else:
            draft.failures.append(plugin.failure("load", answer["fault"]))
    return imported


def _ask(
    plugins: Sequence[Plugin],
    found: Catalogue,
    drafts: Mapping[str, _Draft],
    timeout: float,
    own_commands: Collection[str],
) -> None:
    """Ask the plugins what they offer, and accept what is sound and new."""
    entries = {entry.plugin: entry for entry in found.entries}
    tasks = [_task(plugin, entries.get(plugin.key)) for plugin in plugins]
    header, answers = interrogate("ask", tasks, doing="answering its hooks", timeout=timeout)
    owners = {hook: dict.fromkeys(names, CORE) for hook, names in header.get("core", {}).items()}
    for name in own_commands:
        owners.setdefault("apx_commands", {})[name] = _PROGRAM
    for plugin, answer in zip(plugins, answers, strict=True):
        draft = drafts[plugin.distribution]
        if isinstance(answer, NoAnswerError):
            draft.failures.append(plugin.failure("hook", f"it {answer}"))
            continue
        draft.failures += [plugin.failure(what, message) for what, message in answer["faults"]]
        _accept_methods(draft, entries.get(plugin.key), answer["offers"].get(METHODS_HOOK))
        for hook in EXTENSION_HOOKS:
            _accept_names(draft, plugin, hook, answer["offers"].get(hook, ()), owners[hook])


def _broken_core(error: str) -> _Draft:
    installed = version(CORE)
    message = f"it does not load, so that no plugin could be asked what it offers: {error}"
    return _Draft(CORE, installed, ["apx"], failures=[Failure(CORE, installed, "load", None, message)])


def _accept_methods(draft: _Draft, entry: Entry | None, slugs: Sequence[str] | None) -> None:
    if slugs is None:  # its classes are not sound, which is among its failures
        return
    if entry is not None and entry.implemented:
        draft.offers["methods"].append(entry.slug)
    if not draft.failures:  # where the entry is at fault, that says it all
        own = None if entry is None else entry.slug
        draft.remarks += [
            f"apx_methods offers a class with slug = '{slug}', which no {ENTRY_FILE} of the package describes"
            for slug in slugs
            if slug != own
        ]


def _accept_names(draft: _Draft, plugin: Plugin, hook: str, names: Sequence[str], owners: dict[str, str]) -> None:
    if names and not plugin.may_offer(hook):
        message = f"it answers {hook}, but no file of its package names this hook, so that apx does not look for it"
        draft.failures.append(plugin.failure("hook", f"{message}: write the hook's name in the package"))
        return
    for name in names:
        if name in owners:
            draft.failures.append(plugin.failure("hook", taken(hook, name, owners[name])))
        else:
            owners[name] = plugin.distribution
            draft.offers[hook.removeprefix("apx_")].append(name)


def _task(plugin: Plugin, entry: Entry | None) -> dict[str, Any]:
    """Write a plugin, and what its entry claims of its class, for the inspector."""
    claim = entry if entry is not None and entry.implemented else None
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "name": plugin.name,
        "value": plugin.value,
        "slug": None if claim is None else claim.slug,
        "stage": None if claim is None else claim.implements.stage,
    }
