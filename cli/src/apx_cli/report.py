"""Print a run's report: one table with the dense network beside the pruned one, and where the result lies."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import click

from .output import warn
from .tables import print_table


def print_report(report: Mapping[str, Any]) -> None:
    """Print `report.json`, as `apx.runner.start` returns it, for people."""
    results = report["results"]
    columns = [name for name in ("dense", "pruned") if name in results] or ["pruned"]
    print_table("", *columns, rows=_rows(report, columns))
    if shrunk := report.get("shrunk"):
        click.echo(_shrunk(shrunk))
    click.echo(f"run directory: {report['run']}")
    for sentence in report["deviations"]:
        click.echo(f"differs from the paper: {sentence}")
    click.echo(f"the paper's setting: {report['paper_command']}")
    for sentence in report.get("collapsed", []):
        warn(sentence)


def print_results(document: Mapping[str, Any]) -> None:
    """Print a results document, as `apx.evaluation.evaluate` returns it, for people."""
    rows = [
        ("target", str(document["target"])),
        *([("attacked in its place", str(document["source"]))] if "source" in document else []),
        ("images", f"{document['n']} of {document['dataset']}, {document['split']} split"),
        ("clean accuracy", accuracy(document["clean_accuracy"])),
        *_robustness(document),
    ]
    if "sparsity" in document:
        rows.append(("reported sparsity", f"{document['sparsity']['reported']:.2%}"))
    if document["precision"] != "fp32":
        rows.append(("precision of the attacked copy", document["precision"]))
    rows.append(("seconds", f"{document['seconds']:.1f}"))
    print_table("", "value (95 % interval)", rows=rows)
    if verdicts := document.get("sanity"):
        checks = [(one["name"], "passed" if one["passed"] else "FAILED", one["verdict"]) for one in verdicts]
        print_table("check against gradient masking", "", "what was seen", rows=checks)
    for warning in document["warnings"]:
        warn(warning["text"])


def _robustness(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    if document["robust_accuracy"] is None:
        return []
    threat, attacks = document["threat"], document["attacks"]
    rows = [(f"robust accuracy ({_attacked(attacks, threat)})", accuracy(document["robust_accuracy"]))]
    if len(attacks) > 1 and attacks[-1].get("robust_accuracy"):
        rows.append((f"  by {attack_name(attacks[-1:])} alone", accuracy(attacks[-1]["robust_accuracy"])))
    if distances := sorted(float(s["distance"]) for s in document["samples"] if s["distance"] is not None):
        failed = distances.count(float("inf"))
        found = f"{statistics.median(distances):.4g}" + (f", none found for {failed}" if failed else "")
        rows.append((f"median distance ({threat['norm']})", found))
    if part := document.get("minimum_norm"):
        name = f"{part['attack'].upper()}, {part['threat']['norm']} {fraction(part['threat']['eps'])}"
        rows.append((f"robust accuracy ({name}, {part['n']} images)", accuracy(part["robust_accuracy"])))
        rows.append(("protocol", part["note"]))
    return rows


def _attacked(attacks: Sequence[Mapping[str, Any]], threat: Mapping[str, Any]) -> str:
    name = attack_name(attacks)
    bounded = any("eps" in attack["parameters"] for attack in attacks)
    return f"{name}, {threat['norm']} {fraction(threat['eps'])}" if bounded else name


def attack_name(attacks: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of what attacked: a single attack's own, AutoAttack for its parts, with what came beside."""
    names = [str(attack["name"]) for attack in attacks]
    if len(names) == 1:
        return names[0].upper()
    beside = [name.upper() for name in names if name in ("ho-fmn", "fmn")]
    return " and ".join(["AutoAttack+" if "apgd-dlr" in names else "AutoAttack", *beside])


def accuracy(value: Mapping[str, float] | None) -> str:
    """Write an accuracy with its 95 % interval, in percent."""
    return "-" if value is None else f"{value['value']:.1%} ({value['low']:.1%} to {value['high']:.1%})"


def fraction(eps: float) -> str:
    """Write a radius as papers do: in 255ths where it is a whole number of them."""
    steps = eps * 255
    return f"{round(steps)}/255" if abs(steps - round(steps)) < 1e-6 else f"{eps:g}"


def _rows(report: Mapping[str, Any], columns: list[str]) -> list[tuple[str, ...]]:
    results, sparsity = report["results"], report["sparsity"]
    dense = tuple("-" for name in columns if name == "dense")
    rows = [
        ("reported sparsity", *dense, f"{sparsity['reported']:.2%}"),
        (f"sparsity in {sparsity['unit']}", *dense, f"{sparsity['own']:.2%} (asked {sparsity['requested']:.2%})"),
    ]
    if results:
        one = results[columns[-1]]
        rows.append(("clean accuracy", *(accuracy(results[name]["clean_accuracy"]) for name in columns)))
        attack = f"{attack_name(one['attacks'])} at {fraction(one['threat']['eps'])}"
        rows.append((f"{attack} accuracy", *(accuracy(results[name]["robust_accuracy"]) for name in columns)))
        rows.append(("test images", *(str(results[name]["n"]) for name in columns)))
    rows.append(("seconds in all", *("" for _ in dense), f"{report['seconds']['total']:.0f}"))
    return rows


def _shrunk(shrunk: Mapping[str, Any]) -> str:
    if "refused" in shrunk:
        return f"not removed physically: {shrunk['refused']}"
    return (
        f"removed physically: {shrunk['filters_removed']} filters; "
        f"weights {shrunk['weights_before']:,} to {shrunk['weights_after']:,}, "
        f"FLOPs {shrunk['flops_before']:,} to {shrunk['flops_after']:,}, "
        f"{shrunk['seconds_before'] * 1000:.1f} to {shrunk['seconds_after'] * 1000:.1f} ms "
        f"for {shrunk['batch_size']} images"
    )
