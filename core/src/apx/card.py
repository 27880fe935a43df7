"""The model card of an exported network: what it is, how it was judged and on what, what it is not, how to load it.

Markdown with the YAML front matter of model hubs. Whatever is not known is said to be unknown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .architectures.normalisation import normalisation_of
from .errors import UserError
from .evaluation.document import versions
from .figures.style import radius
from .leaderboards.attack import attack_of
from .leaderboards.local import best_evaluation
from .masks import count_zeros, reported_sparsity
from .runs import RunFolder, open_run
from .shrinking import ShrinkReport
from .target import Opened

_UNKNOWN = "unknown"


def card(file: Path, opened: Opened, to: str, shrunk: ShrinkReport | None = None) -> str:
    """Return the card of a file that `export_state` wrote.

    Args:
        file: the exported file; its SHA-256 is part of the card.
        opened: the target that it came from.
        to: its format, one of `apx.export.FORMATS`.
        shrunk: what physical removal did, None where nothing was removed.
    """
    run = _run_of(opened)
    best = None if run is None else best_evaluation(run)
    evaluation = None if best is None else best.document
    sections = [
        _front_matter(opened, to),
        f"# {_title(opened)}\n",
        _what(opened),
        _numbers(opened, evaluation),
        _size(opened, run, shrunk),
        _limits(evaluation, opened),
        _loading(file, opened, to, shrunk),
        _origin(file, opened, run),
    ]
    return "\n".join(sections)


def _run_of(opened: Opened) -> RunFolder | None:
    try:
        return open_run(Path(str(opened.facts["target"])))
    except UserError:
        return None  # a file of weights or a published network: nothing but what the file says is known


def _front_matter(opened: Opened, to: str) -> str:
    facts = opened.facts
    lines = {
        "library_name": "pytorch" if to != "onnx" else "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["adversarial-robustness", "pruning", *([facts["method"]] if facts["method"] else [])],
        "datasets": [str(facts["dataset"])],
        "license": _UNKNOWN,
    }
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in lines.items()), "---", ""])


def _title(opened: Opened) -> str:
    facts = opened.facts
    return f"{facts['arch']} on {facts['dataset']}, {facts['method'] or 'no method known'}"


def _what(opened: Opened) -> str:
    facts = opened.facts
    classes, (channels, height, width) = opened.data.num_classes, opened.data.image_shape
    statistics = normalisation_of(opened.module)
    inside = "nothing: the network takes images as they are"
    if statistics is not None:
        inside = f"mean {_numbers_of(statistics.mean)} and standard deviation {_numbers_of(statistics.std)}, inside"
    rows = {
        "method": _method(facts["method"]),
        "network": str(facts["arch"]),
        "data": str(facts["dataset"]),
        "input": f"float32 [batch, {channels}, {height}, {width}], values in [0, 1]",
        "normalisation": inside,
        "output": f"logits [batch, {classes}]",
        "checkpoint selected on": facts.get("selected_on") or _UNKNOWN,
    }
    return _table("", rows)


def _method(slug: str | None) -> str:
    if slug is None:
        return _UNKNOWN
    from .registry import entry

    try:
        found = entry(slug)
    except UserError:
        return slug  # of a plugin that is not installed here
    paper = found.document
    where = ", ".join(str(paper[part]) for part in ("venue", "year") if paper.get(part))
    title = f"[{paper['title']}]({paper['url']})" if paper.get("url") else str(paper["title"])
    return f"{found.name}: {title}, {where}"


def _numbers(opened: Opened, evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        threat = f"{opened.data.norm} {radius(opened.data.threat_eps)}"
        return f"## Accuracy\n\nNot evaluated. The threat of {opened.data.name} is {threat}.\n"
    threat, protocol = evaluation["threat"], evaluation["protocol"]
    rows = {
        "clean accuracy": _accuracy(evaluation["clean_accuracy"]),
        f"robust accuracy ({attack_of(evaluation)}, {threat['norm']} {radius(threat['eps'])})": _accuracy(
            evaluation["robust_accuracy"]
        ),
        "images": f"{evaluation['n']:,} of {evaluation['dataset']}, {evaluation['split']} split",
        "protocol": "a single attack" if protocol == "apx" else str(protocol),
    }
    warnings = [f"* {warning['text']}" for warning in evaluation["warnings"]]
    said = "\n".join(["", "What makes the result doubtful:", "", *warnings, ""]) if warnings else ""
    return f"## Accuracy\n\nIntervals are 95 % Wilson intervals.\n\n{_table('', rows)}{said}"


def _size(opened: Opened, run: RunFolder | None, shrunk: ShrinkReport | None) -> str:
    zeros, total = count_zeros(opened.module)
    rows = {"reported sparsity": f"{reported_sparsity(opened.module):.2%} of {total:,} convolution and linear weights"}
    sparsity = ((run.report or {}) if run is not None else {}).get("sparsity", {})
    if sparsity.get("own") is not None:
        rows["sparsity in the method's unit"] = f"{sparsity['own']:.2%} of the {sparsity['unit']}"
    rows["weights other than zero"] = f"{total - zeros:,}"
    if shrunk is not None:
        rows["weights in this file"] = f"{shrunk.weights_after:,} of {shrunk.weights_before:,}"
        rows["operations of one image"] = f"{shrunk.flops_after:,} of {shrunk.flops_before:,}"
    return f"## Size\n\n{_table('', rows)}"


def _limits(evaluation: Mapping[str, Any] | None, opened: Opened) -> str:
    threat = None if evaluation is None else evaluation["threat"]
    attacked = (
        "Nothing is known of its robustness here."
        if threat is None or evaluation is None
        else f"Robust accuracy is an upper bound by {attack_of(evaluation)}: a stronger attack can only lower it. "
        f"It says nothing about other threats than {threat['norm']} {radius(threat['eps'])}."
    )
    return (
        f"## Limits\n\n{attacked} The network was made for {opened.facts['dataset']}; on other images it is not known "
        "to be accurate or robust.\n"
    )


def _loading(file: Path, opened: Opened, to: str, shrunk: ShrinkReport | None) -> str:
    name, (channels, height, width) = json.dumps(file.name), opened.data.image_shape
    if to == "onnx":
        lines = ["import onnxruntime", f"network = onnxruntime.InferenceSession({name})",
                 'logits = network.run(["logits"], {"images": images})[0]  # numpy float32']  # fmt: skip
    elif to == "torch" and shrunk is not None:
        lines = ["import torch", f"network = torch.export.load({name}).module()", "logits = network(images)"]
    elif to == "torch":
        lines = ["import torch", f"state = torch.load({name}, weights_only=True)",
                 "network.load_state_dict(state)  # your own network of these names"]  # fmt: skip
    else:
        lines = ["from pathlib import Path", "from apx.target import open_target",
                 f"network = open_target(Path({name})).module", "logits = network(images)"]  # fmt: skip
    shape = f"# images: float32 [batch, {channels}, {height}, {width}] in [0, 1]"
    return "\n".join(["## Loading", "", "```python", shape, *lines, "```", ""])


def _origin(file: Path, opened: Opened, run: RunFolder | None) -> str:
    content = file.read_bytes()
    rows = {
        "file": f"{file.name}, {len(content):,} bytes",
        "SHA-256": hashlib.sha256(content).hexdigest(),
        "exported from": str(opened.facts["target"]),
        "exported with": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    if run is not None:
        made = run.record.get("versions", {})
        rows["made with"] = ", ".join(f"{name} {version}" for name, version in made.items())
        rows["settings"] = f"preset {run.request.get('preset')}, seed {run.request.get('seed')}"
    text = f"## Origin\n\n{_table('', rows)}"
    deviations = ((run.report or {}) if run is not None else {}).get("deviations", [])
    if deviations:
        text += "\n".join(["", "It differs from the paper's setting:", "", *(f"* {one}" for one in deviations), ""])
    return text


def _accuracy(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})"


def _numbers_of(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _table(first: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {first} | |", "|---|---|", *(f"| {_cell(name)} | {_cell(text)} |" for name, text in rows.items())]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
