"""The text of the issue with which a bundle is submitted: every field filled in, every sentence finished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def issue_text(manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return the issue as Markdown; its first line is the title.

    Args:
        manifest: the bundle's `submission.json`.
        entry: the method's entry.
    """
    models = manifest["models"]
    sections = [
        f"# Result: {manifest['name']} ({_networks(models)})",
        _what(manifest, entry),
        "## Entry",
        f"```json\n{json.dumps(entry, indent=2, ensure_ascii=False)}\n```",
        *(_model(number, model) for number, model in enumerate(models, 1)),
        "## Normalisation",
        "\n".join(f"* `{model['name']}` {_normalisation(model['normalisation'])}." for model in models),
        "## Architecture",
        "\n".join(f"* `{model['name']}` {_architecture(model)}." for model in models),
    ]
    if manifest["remarks"]:
        sections += ["## Remarks", "\n".join(f"* {remark}." for remark in manifest["remarks"])]
    sections.append("`SHA256SUMS` in the bundle names every file; `apx submit merge` verifies it.")
    return "\n\n".join(sections) + "\n"


def _what(manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    count = len(manifest["models"])
    return (
        f"{count} checkpoints of {manifest['name']} ({entry['title']}), each evaluated by AutoAttack and selected "
        "without the test split. Attach the bundle, or say where it can be downloaded."
    )


def _networks(models: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(f"{one['arch']} on {one['dataset']}, {one['structure']}" for one in models))


def _model(number: int, model: Mapping[str, Any]) -> str:
    by_distance = model["minimum_norm_accuracy"]
    lines = {
        "checkpoint": f"`{model['weights']}`",
        "results": f"`{model['results']}`",
        "distances": "not measured" if model["distances"] is None else f"`{model['distances']}`",
        "sparsity": f"{model['sparsity']:g} % of the {model['unit']} asked",
        "zeros of all weights": f"{100 * model['reported']:.2f} %",
        "clean accuracy": _accuracy(model["clean_accuracy"]),
        "robust accuracy (AutoAttack)": _accuracy(model["robust_accuracy"]),
        "robust accuracy (minimum norm)": "not measured" if by_distance is None else f"{100 * by_distance:.2f} %",
        "selected on": model["selected_on"],
        "preset, seed": f"{model['preset']}, {model['seed']}",
    }
    body = "\n".join(f"* {name}: {value}" for name, value in lines.items())
    return f"## {number}. `{model['name']}`\n\n{body}"


def _accuracy(accuracy: Mapping[str, Any]) -> str:
    value, low, high = (100 * accuracy[name] for name in ("value", "low", "high"))
    return f"{value:.2f} % (95 % interval {low:.2f} to {high:.2f})"


def _normalisation(statistics: Mapping[str, Any] | None) -> str:
    if statistics is None:
        return "takes images in [0, 1] as they are"
    return f"normalises inside, with mean {statistics['mean']} and standard deviation {statistics['std']}"


def _architecture(model: Mapping[str, Any]) -> str:
    if model["width"] is not None:
        return f"is a {model['arch']} of width {model['width']}, which does not fit the base network"
    return f"loads strictly into {model['arch']}"
