"""The eight hooks that a plugin may implement, and the markers `hookspec` and `hookimpl`.

A plugin implements what it offers and leaves the rest out:

    from apx import hookimpl

    @hookimpl
    def apx_methods():
        from .method import Hydra  # imported here, so that loading the plugin stays cheap

        return [Hydra]

Names must be new: a name that core or another plugin already offers is reported, and the later one is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click
    from torch import nn

    from apx.datasets import Dataset
    from apx.method import Method

PROJECT = "apx"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def apx_methods() -> Sequence[type[Method]]:  # type: ignore[empty-body]
    """Return the method classes of this distribution; each answers to the slug of its `taxonomy.json`."""


@hookspec
def apx_architectures() -> Mapping[str, Callable[..., nn.Module]]:  # type: ignore[empty-body]
    """Return networks by name: `factory(*, num_classes, in_channels, image_size, width)` makes one."""


@hookspec
def apx_datasets() -> Mapping[str, Callable[..., Dataset]]:  # type: ignore[empty-body]
    """Return data sets by name: `factory(data_dir)` describes one, and reads a split when it is used."""


@hookspec
def apx_objectives() -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Return training objectives by name (see `apx.objectives`)."""


@hookspec
def apx_criteria() -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Return pruning criteria by name (see `apx.specifics`)."""


@hookspec
def apx_attacks() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return attacks by name (see `apx.attacks`): `attack(model, x, y, *, eps, ...)` returns adversarial images."""


@hookspec
def apx_observers() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Return run observers by name: each is told of a run's phases, epochs and metrics."""


@hookspec
def apx_commands() -> Mapping[str, click.Command]:  # type: ignore[empty-body]
    """Return further commands of the `apx` program by name."""
