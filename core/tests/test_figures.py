"""Figures: what they say, that they need no network, and that their colours can be told apart."""

import re
import struct
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from apx.analysis.overlap import Outcomes, Overlap, compare
from apx.errors import UserError
from apx.evaluation.security_curve import SecurityCurve, security_curve
from apx.figures.curves import columns, curves_figure, curves_html, rows, save_curves
from apx.figures.ice import save_ice
from apx.figures.style import COLOURS, MOST, distance_text, look, radius

EPS = 8 / 255


def curves(*names: str) -> list[SecurityCurve]:
    return [
        security_curve(
            np.linspace(0, 0.05 * (i + 1), 30).tolist(), threat_eps=EPS, name=name, data="digits, test split"
        )
        for i, name in enumerate(names)
    ]


def ice() -> Overlap:
    rng = np.random.default_rng(0)
    distance = rng.exponential(0.1, 80)
    dense, pruned = distance > 0.1, distance + rng.normal(0, 0.03, 80) > 0.1

    def outcomes(name: str, robust: np.ndarray) -> Outcomes:
        labels = np.zeros(80, dtype=int)
        return Outcomes(
            name, "digits, test split", ("pgd-20",), "Linf", 0.1, np.arange(80), labels, labels, robust, distance
        )

    return compare(outcomes("the dense one", dense), outcomes("the pruned one", pruned))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_can_be_seen_on_light_and_on_dark(colour: str) -> None:
    for background in ("#ffffff", "#15181d"):
        light, dark = sorted((luminance(colour), luminance(background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_no_two_curves_look_alike() -> None:
    looks = [look(number) for number in range(MOST)]
    assert all(one != other for one, other in combinations(looks, 2))
    with pytest.raises(UserError, match="12 models"):
        look(MOST)


def test_a_png_is_drawn(tmp_path: Path) -> None:
    save_curves(curves("dense", "hydra"), tmp_path / "curves.PNG")
    content = (tmp_path / "curves.PNG").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert width > 1000
    assert height > 700


def test_an_svg_names_every_model_and_the_threat_and_repeats_itself(tmp_path: Path) -> None:
    names = ("dense", "_hydra $90$ <b>&", "harp")
    for name in ("one.svg", "two.svg"):
        save_curves(curves(*names), tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    for word in ("dense", "_hydra $90$ &lt;b&gt;&amp;", "harp", "threat: eps = 8/255 (0.0314)"):
        assert word in text
    assert text == (tmp_path / "two.svg").read_text()


def test_the_static_figure_draws_the_points_of_the_curve() -> None:
    (curve,) = made = curves("dense")
    line = curves_figure(made).axes[0].lines[0]
    assert line.get_xdata() == pytest.approx(curve.eps)
    assert line.get_ydata() == pytest.approx(curve.robust)


class Page(HTMLParser):
    """What a reader meets: tags with their attributes, text of the table, whether the static figure is there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.cells: list[str] = []
        self.static = False
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href") and tag != "use"]
        self.static |= tag == "svg" and "noscript" in self._open

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return curves_html(curves("dense", "<b>hydra</b>"))


def test_the_page_is_one_file_below_six_megabytes_that_loads_nothing(html: str) -> None:
    assert len(html.encode()) < 6_000_000
    assert "Plotly.newPlot" in html
    assert [source for source in Page(html).sources if not source.startswith("#")] == []
    assert "@import" not in html.partition("</style>")[0]


def test_the_page_can_be_read_without_javascript(html: str) -> None:
    page = Page(html)
    assert page.static
    made = curves("dense", "<b>hydra</b>")
    assert page.cells == [*columns(made), *(cell for row in rows(made) for cell in row)]


def test_the_page_shows_names_as_they_are(html: str) -> None:
    assert "<b>hydra" not in html
    assert 'lang="en"' in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_rows_tell_accuracy_with_its_interval() -> None:
    (row,) = rows(curves("dense"))
    assert row[:2] == ("dense", "30")
    assert re.fullmatch(r"96\.7% \(83\.3% to 99\.4%\)", row[2])


def test_radii_and_distances_are_written_as_papers_do() -> None:
    assert [radius(eps) for eps in (8 / 255, 0.15, 0.5)] == ["8/255 (0.0314)", "0.15", "0.5"]
    assert [distance_text(value) for value in (0.01234, float("inf"), None)] == ["0.0123", "none found", "-"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure_on_thin_ice_is_drawn(tmp_path: Path, suffix: str) -> None:
    save_ice(ice(), tmp_path / f"ice.{suffix}")
    assert (tmp_path / f"ice.{suffix}").stat().st_size > 10_000


def test_the_figure_on_thin_ice_tells_the_size_of_each_set(tmp_path: Path) -> None:
    found = ice()
    save_ice(found, tmp_path / "ice.svg")
    text = (tmp_path / "ice.svg").read_text()
    for name in ("S11", "S10", "S01", "S00"):
        assert f"n = {found.adversarial.count(name)}, median" in text
        assert f"{found.adversarial.count(name)} ({found.adversarial.count(name) / 80:.1%}) under attack" in text
    assert "the dense one" in text


def test_the_figure_on_thin_ice_can_have_empty_sets_and_no_distances(tmp_path: Path) -> None:
    found = ice()
    alike = Outcomes(**{**vars(found.dense), "distances": np.full(80, np.inf)})
    save_ice(compare(alike, alike), tmp_path / "ice.svg")
    text = (tmp_path / "ice.svg").read_text()
    assert text.count("empty") == 2
    assert "none found" in text


@pytest.mark.parametrize("name", ["curves.pdf", "curves", "none/curves.png"])
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        save_curves(curves("dense"), tmp_path / name)
    with pytest.raises(UserError):
        save_ice(ice(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
