"""The sections of a report on runs: HTML in which everything can be read without JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..analysis.overlap import SETS, overlap
from ..errors import UserError
from ..evaluation.security_curve import curves_of
from ..figures.accuracy import Line, Point, accuracy_figure, accuracy_plot
from ..figures.curves import columns, curves_figure, curves_plot, how_to_read, rows
from ..figures.files import svg
from ..figures.ice import MEANINGS
from ..figures.page import figure, table
from ..figures.style import MOST, radius
from ..leaderboards.row import Score
from .subject import Subject

Plot = Callable[[Any], str]
"""Turns a plotly figure into HTML; the first one of a page brings the library with it."""


def summary(subjects: Sequence[Subject]) -> str:
    """Return the main numbers of each run beside its dense network's, and what keeps it from published ones."""
    headings = (
        "run", "dense clean, %", "clean, %", "dense robust, %", "robust, %", "attack", "images", "asked, %", "own, %",
        "reported, %", "network", "data", "structure", "selected on", "seconds",
    )  # fmt: skip
    body = _numbers(table(headings, map(_summary_row, subjects)))
    differs = [
        f"{subject.name}: {'; '.join(subject.best.row.differs)}."
        for subject in subjects
        if subject.best is not None and subject.best.row.differs
    ]
    remarks = [remark for subject in subjects if subject.best is not None for remark in subject.best.row.remarks]
    note = (
        "Accuracies with 95 % intervals (Wilson). The dense network was attacked as the run says, by PGD unless asked."
    )
    body += _list("What keeps a run from being compared with published results", differs)
    return f"<p>{note}</p>{body}{_list('Remarks', remarks)}"


def _summary_row(subject: Subject) -> tuple[str, ...]:
    sparsity, request, best = subject.report["sparsity"], subject.run.request, subject.best
    row = None if best is None else best.row
    dense = subject.report["results"].get("dense")
    return (
        subject.name,
        _accuracy(dense, "clean_accuracy"),
        "-" if row is None else _score(row.clean),
        _accuracy(dense, "robust_accuracy"),
        "-" if row is None else _score(row.robust),
        "not attacked" if row is None else f"{row.attack}, {row.norm} {radius(row.eps)}",
        "-" if row is None or row.n is None else f"{row.n:,}",
        f"{100 * sparsity['requested']:g} of {sparsity['unit']}",
        f"{100 * sparsity['own']:.2f}",
        f"{100 * sparsity['reported']:.2f}",
        f"{request.get('arch')}" + (f", width {request['width']}" if request.get("width") else ""),
        str(request.get("dataset")),
        f"{subject.run.record['variant'].get('structure')}, {subject.run.record['variant'].get('granularity')}",
        subject.report["selected_on"],
        f"{subject.report['seconds']['total']:.0f}",
    )


def curves(subjects: Sequence[Subject], plot: Plot) -> str:
    """Return a security curve per run with distances, a figure for each data set, norm and radius."""
    groups: dict[tuple[Any, ...], list[Subject]] = {}
    for subject in subjects:
        if (found := subject.measured) is not None:
            threat = found["threat"]
            key = (found["dataset"], found["split"], threat["norm"], threat["eps"])
            groups.setdefault(key, []).append(subject)
    body = "".join(
        _curves_of(group[at : at + MOST], plot) for group in groups.values() for at in range(0, len(group), MOST)
    )
    missing = [f"apx evaluate {subject.run.path} --protocol curve" for subject in subjects if subject.measured is None]
    return body + _list("Runs without distances to the boundary; these commands measure them", missing, code=True)


def _curves_of(group: Sequence[Subject], plot: Plot) -> str:
    drawn = curves_of([subject.measured or {} for subject in group], names=[subject.name for subject in group])
    head = f"<h3>{escape(drawn[0].data)}, {escape(drawn[0].norm)}</h3><p>{escape(how_to_read(drawn))}</p>"
    picture = figure(plot(curves_plot(drawn)), svg(curves_figure(drawn)).decode(), len(drawn))
    return f"{head}{picture}{_numbers(table(columns(drawn), rows(drawn)))}"


def accuracy(subjects: Sequence[Subject], plot: Plot) -> str:
    """Return clean and robust accuracy against reported sparsity."""
    lines = _lines(subjects)
    if not lines:
        return "<p>No run was attacked: apx evaluate RUN does it.</p>"
    parts = [lines[at : at + MOST] for at in range(0, len(lines), MOST)]
    note = "Filled, solid: robust accuracy. Hollow, dashed: clean. At 0: the dense network, attacked as the run says."
    pictures = (figure(plot(accuracy_plot(part)), svg(accuracy_figure(part)).decode(), 2 * len(part)) for part in parts)
    return f"<p>{note}</p>{''.join(pictures)}"


def _lines(subjects: Sequence[Subject]) -> list[Line]:
    points: dict[str, list[Point]] = {}
    for subject in subjects:
        if subject.best is None:
            continue
        row = subject.best.row
        name = f"{row.name}, {row.arch}, {row.dataset}, {row.structure}; {row.attack}"
        found = points.setdefault(name, [])
        dense = subject.report["results"].get("dense")
        if not found and dense is not None and dense["robust_accuracy"] is not None:
            found.append(Point(0.0, _as_score(dense["clean_accuracy"]), _as_score(dense["robust_accuracy"])))
        if row.clean is not None and row.robust is not None and row.reported is not None:
            found.append(Point(row.reported, row.clean, row.robust))
    return [Line(name, tuple(sorted(found, key=lambda point: point.sparsity))) for name, found in points.items()]


def layers(subjects: Sequence[Subject]) -> str:
    """Return each run's sparsity per layer, as numbers and bars."""
    parts = []
    for number, subject in enumerate(subjects):
        cells = "".join(
            f'<tr><th scope="row">{escape(layer.name)}</th><td>{layer.weights:,}</td><td>{layer.kept:,}</td>'
            f"<td>{layer.sparsity:.1%}</td>"
            f'<td class="bar"><span style="width: {100 * layer.sparsity:.1f}%"></span></td></tr>'
            for layer in subject.layers
        )
        headings = "".join(
            f'<th scope="col">{name}</th>' for name in ("layer", "weights", "kept", "sparsity", "removed")
        )
        whole = f"<table><thead><tr>{headings}</tr></thead><tbody>{cells}</tbody></table>"
        parts.append(_details(subject.name, _numbers(whole), opened=number == 0))
    return "".join(parts)


def thin_ice(subjects: Sequence[Subject]) -> str:
    """Return how many samples pruning lost and won, clean and under the run's own attack."""
    lines: list[tuple[str, ...]] = []
    missing: list[str] = []
    for subject in subjects:
        results = subject.report["results"]
        if not {"dense", "pruned"} <= results.keys() or results["pruned"]["robust_accuracy"] is None:
            missing.append(f"{subject.name}: the run did not attack both networks.")
            continue
        lines += [(subject.name, *line) for line in _sets(results["dense"], results["pruned"])]
    note = (
        "Samples by whether the dense network is right (first digit) and whether the pruned one is (second): S10 is "
        "lost by pruning, S01 won."
    )
    headings = ("run", "outcome", *(f"{name} {MEANINGS[name]}" for name in SETS))
    more = "<p>apx analyze ice DENSE PRUNED measures how close to the boundary these samples lie.</p>"
    return f"<p>{note}</p>{_numbers(table(headings, lines)) if lines else ''}{_list('Not counted', missing)}{more}"


def _sets(dense: Mapping[str, Any], pruned: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    before, after = dense["samples"], pruned["samples"]
    if [one["index"] for one in before] != [one["index"] for one in after]:
        raise UserError(f"dense and pruned network of {pruned['target']} were attacked on other samples: run it again")
    attack = " + ".join(one["name"] for one in pruned["attacks"])
    outcomes: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        "clean": lambda one: bool(one["prediction"] == one["label"]),
        f"under {attack}": lambda one: bool(one["robust"]),
    }
    for name, right in outcomes.items():
        found = overlap([right(one) for one in before], [right(one) for one in after])
        yield name, *(f"{int(chosen.sum())} ({chosen.mean():.1%})" for chosen in found.values())


def latency(subjects: Sequence[Subject]) -> str:
    """Return what `apx bench` measured, and what it means."""
    parts, missing = [], []
    for subject in subjects:
        if subject.latency is None:
            missing.append(f"apx bench {subject.run.path}")
            continue
        lines = [
            (
                one["form"],
                f"{one['device']}, {one['threads']} threads",
                str(one["batch_size"]),
                f"{1000 * one['median']:.3g} ({1000 * one['low']:.3g} to {1000 * one['high']:.3g})",
                f"{one['images_per_second']:,.0f}",
            )
            for one in subject.latency["latencies"]
        ]
        made = table(("form", "device", "batch", "ms (quartiles)", "images per second"), lines)
        said = "".join(f"<li>{escape(sentence)}</li>" for sentence in subject.latency["sentences"])
        parts.append(f"<h3>{escape(subject.name)}</h3>{_numbers(made)}<ul>{said}</ul>")
    return "".join(parts) + _list("Runs that were not timed; these commands do it", missing, code=True)


def taxonomy(subjects: Sequence[Subject]) -> str:
    """Return each method's place in the taxonomy, as surveyed and as implemented, and its paper."""
    parts = []
    for method, subject in {str(subject.run.request.get("method")): subject for subject in subjects}.items():
        found = subject.entry
        if found is None:
            parts.append(f"<h3>{escape(method)}</h3><p>The method's plugin is not installed here.</p>")
            continue
        document, survey = found.document, found.survey
        properties = ("stage", "schedules", "structures", "granularities", "localities", "criterion")
        lines = [
            (name, "-" if survey is None else _words(getattr(survey, name)), _words(getattr(found.implements, name)))
            for name in properties
        ]
        where = " ".join(str(part) for part in (document["venue"], found.year) if part is not None)
        paper = f"{document['title']}. {', '.join(document['authors'])}. {where}. {document['url'] or ''}"
        made = table(("property", "survey", "implemented"), lines)
        parts.append(f"<h3>{escape(found.name)}</h3><p>{escape(paper)}</p>{_numbers(made)}")
    return "".join(parts)


def settings(subjects: Sequence[Subject]) -> str:
    """Return what each run resolved to, departures from the paper, warnings, versions."""
    names = [subject.name for subject in subjects]
    resolved = [dict(_flat(subject.run.record["settings"])) for subject in subjects]
    versions = [subject.run.record["versions"] for subject in subjects]
    made = [
        {
            "directory": subject.run.path,
            **{key: subject.run.request.get(key) for key in ("preset", "seed", "precision", "eval", "deterministic")},
            **{key: subject.run.record[key] for key in ("device", "threads", "created")},
            "dense network": subject.report["dense_origin"] or "none",
            "the paper's setting": subject.report["paper_command"],
        }
        for subject in subjects
    ]
    departures = [
        _list(f"{subject.name} departs from the paper", list(subject.report["deviations"])) for subject in subjects
    ]
    warnings = [
        f"{subject.name}: {warning['text']}"
        for subject in subjects
        if subject.best is not None
        for warning in subject.best.document["warnings"]
    ]
    return "".join(
        [
            _details("How the runs were made", _side_by_side(names, made), opened=True),
            *departures,
            _list("Warnings of the evaluations", warnings),
            _details("Every setting", _side_by_side(names, resolved)),
            _details("Versions", _side_by_side(names, versions)),
        ]
    )


def _side_by_side(names: Sequence[str], columns: Sequence[Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for column in columns for key in column))
    lines = [(key, *("-" if key not in column else _words(column[key]) for column in columns)) for key in keys]
    return f'<div class="numbers words" tabindex="0">{table(("", *names), lines)}</div>'


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, {}) else str(value)


def _score(score: Score | None) -> str:
    if score is None:
        return "-"
    between = "" if score.low is None or score.high is None else f" ({score.low:.1f} to {score.high:.1f})"
    return f"{score.value:.1f}{between}"


def _as_score(accuracy: Mapping[str, Any]) -> Score:
    return Score(*(100 * float(accuracy[name]) for name in ("value", "low", "high")))


def _accuracy(document: Mapping[str, Any] | None, name: str) -> str:
    return "-" if document is None or document[name] is None else _score(_as_score(document[name]))


def _numbers(content: str) -> str:
    return f'<div class="numbers" tabindex="0">{content}</div>\n'


def _details(title: str, content: str, *, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{content}</details>\n"


def _list(title: str, lines: Sequence[str], *, code: bool = False) -> str:
    if not lines:
        return ""
    tag = ("<code>", "</code>") if code else ("", "")
    items = "".join(f"<li>{tag[0]}{escape(line)}{tag[1]}</li>" for line in lines)
    return f"<h4>{escape(title)}</h4><ul>{items}</ul>\n"
