"""What core and the plugins offer besides methods, by name. Asking loads the plugins that name the hook, guarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .loading import host

if TYPE_CHECKING:
    import click
    from torch import nn

    from ..datasets import Dataset


def architectures() -> dict[str, Callable[..., nn.Module]]:
    """Return the networks: name -> factory(*, num_classes, in_channels, image_size, width)."""
    return host().merged("apx_architectures")


def datasets() -> dict[str, Callable[..., Dataset]]:
    """Return the data sets: name -> factory(data_dir)."""
    return host().merged("apx_datasets")


def objectives() -> dict[str, Any]:
    """Return the training objectives by name."""
    return host().merged("apx_objectives")


def criteria() -> dict[str, Any]:
    """Return the pruning criteria by name."""
    return host().merged("apx_criteria")


def attacks() -> dict[str, Callable[..., Any]]:
    """Return the evaluation attacks by name."""
    return host().merged("apx_attacks")


def observers() -> dict[str, Callable[..., Any]]:
    """Return the run observers by name."""
    return host().merged("apx_observers")


def commands() -> dict[str, click.Command]:
    """Return the commands that plugins add to the `apx` program."""
    return host().merged("apx_commands")
