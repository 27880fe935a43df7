"""The report on runs: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluation.document import versions
from ..figures.page import document, plot
from ..paths import atomic_write
from . import sections
from .subject import Subject

PAGE = "index.html"

_STYLE = """
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
h4 { font-size: .9rem; margin: 1rem 0 .25rem; }
nav { margin: 0 0 1rem; } nav a { margin-right: 1rem; white-space: nowrap; }
a { color: inherit; }
ul { margin: 0 0 1rem; padding-left: 1.25rem; color: var(--soft); overflow-wrap: anywhere; }
p { overflow-wrap: anywhere; }
code { font: .85em ui-monospace, monospace; color: var(--ink); }
summary { cursor: pointer; padding: .35rem 0; font-weight: 600; overflow-wrap: anywhere; }
details .numbers { margin-top: .25rem; }
.numbers.words td, .numbers.words th { text-align: left; white-space: normal; min-width: 9rem;
  overflow-wrap: anywhere; }
.numbers:focus-visible, summary:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
td.bar { width: 30%; min-width: 7rem; }
td.bar span { display: block; height: .8em; background: #0072B2; border-radius: 2px; }
@media (max-width: 60rem) { .numbers th, .numbers td { white-space: nowrap; min-width: 4rem; } }
"""


def report_page(subjects: Sequence[Subject]) -> str:
    """Return the page: summary, curves, sparsity, samples on thin ice, latency, taxonomy, settings.

    It loads nothing from elsewhere. Figures are interactive where there is JavaScript, drawn where not; each stands
    beside a table of its numbers.

    Args:
        subjects: finished runs, as `open_subjects` returns them.

    Raises:
        UserError: there are none, or a run's results contradict each other.
    """
    if not subjects:
        raise UserError("there are no runs to report on: name at least one")
    drawn = _Plots()
    parts: dict[str, str] = {
        "Summary": sections.summary(subjects),
        "Security curves": sections.curves(subjects, drawn),
        "Accuracy against sparsity": sections.accuracy(subjects, drawn),
        "Sparsity per layer": sections.layers(subjects),
        "Samples on thin ice": sections.thin_ice(subjects),
        "Latency": sections.latency(subjects),
        "Taxonomy": sections.taxonomy(subjects),
        "Settings": sections.settings(subjects),
    }
    links = " ".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in parts)
    body = "".join(
        f'<section id="{_anchor(title)}"><h2>{title}</h2>{content}</section>\n' for title, content in parts.items()
    )
    count = f"{len(subjects)} run" + ("s" if len(subjects) > 1 else "")
    what = f"{count}, reported by apx {versions()['apx-core']}."
    return document("Adversarial pruning: report", what, f"<nav>{links}</nav>{body}", style=_STYLE)


def save_report(subjects: Sequence[Subject], folder: Path) -> Path:
    """Write the page to `folder`, which is made if its parent exists, and return the file.

    Raises:
        UserError: see `report_page`; or the folder cannot be written.
    """
    page = report_page(subjects)
    if not folder.parent.is_dir():
        raise UserError(f"there is no folder {folder.parent} for {folder.name}: make it, or choose another --out")
    try:
        folder.mkdir(exist_ok=True)
        atomic_write(folder / PAGE, page.encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error}): choose another --out") from error
    return folder / PAGE


class _Plots:
    """Turns plotly figures into HTML; the library, 4.6 MB, comes with the first."""

    def __init__(self) -> None:
        self._library = True

    def __call__(self, figure: Any) -> str:
        drawn = plot(figure, library=self._library)
        self._library = False
        return drawn


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
