"""Print what a run would do and cost (`apx run --dry-run`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .output import size
from .tables import print_table


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print a plan, as `apx.runner.plan.plan` returns it, for people."""
    record = plan["record"]
    asked = {name: value for name, value in record["request"].items() if name in ("method", "arch", "dataset", "seed")}
    facts = {**asked, **record["variant"], "device": record["device"], "precision": record["precision"]}
    print_table("", "value", rows=[(name, str(value)) for name, value in facts.items()])
    click.echo()
    _print_settings(record["settings"])
    click.echo()
    headings = ("phase", "objective", "times", "epochs", "steps per epoch", "seconds per step", "seconds")
    print_table(*headings, rows=[_phase(phase) for phase in plan["phases"]])
    click.echo(f"weights: {plan['weights']:,} in {plan['prunable_layers']} layers that can be pruned")
    if plan["left_dense"]:
        click.echo(f"left dense, no method prunes them: {', '.join(plan['left_dense'])}")
    click.echo(f"training: about {_time(plan['seconds'])}, evaluation not counted; nothing was written")
    click.echo(f"memory: about {size(plan['peak_memory_bytes'])}")


def _phase(phase: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(phase[name]) for name in ("times", "epochs", "steps_per_epoch"))
    return (phase["name"], phase["objective"], *counts, f"{phase['seconds_per_step']:.3f}", f"{phase['seconds']:.0f}")


def _print_settings(settings: Mapping[str, Any]) -> None:
    """Print the method's own settings, and those of its phases side by side (`--set PHASE.SETTING=VALUE`)."""
    phases = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    own = [(name, str(value)) for name, value in settings.items() if name not in phases]
    print_table("setting", "value", rows=own)
    if phases:
        names = dict.fromkeys(name for phase in phases.values() for name in phase)
        rows = [(name, *(str(phase.get(name, "")) for phase in phases.values())) for name in names]
        click.echo()
        print_table("setting of", *phases, rows=rows)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
