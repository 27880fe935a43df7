"""The report page: its numbers are the runs', nothing is loaded from elsewhere, names are escaped, gaps are named."""

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import apx
from apx.errors import UserError
from apx.pages import open_subjects, report_page, save_report
from apx.runs import evaluation_file
from apx.target import open_target

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
TITLES = (
    "Summary", "Security curves", "Accuracy against sparsity", "Sparsity per layer", "Samples on thin ice", "Latency",
    "Taxonomy", "Settings",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two tiny runs; the second has distances and latencies, and a name that is not harmless."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APX_HOME", str(folder.parent / "home"))
        for sparsity, name in ((0.5, "half"), (0.9, "<script>alert(1)<script>")):
            apx.run(
                "magnitude", arch="cnn-small", width=4, sparsity=sparsity, device="cpu", out=folder / name,
                settings={"pretrain.epochs": 1, "finetune.epochs": 1},
            )  # fmt: skip
    last = folder / name
    opened = open_target(last)
    document = apx.evaluate(opened.module, opened.data.test, attack="fmn", eps=0.15, n=40)
    file = evaluation_file(last, document)
    file.parent.mkdir()
    file.write_text(
        json.dumps({**document, **{key: opened.facts[key] for key in ("target", "method", "arch", "dataset")}})
    )
    one = {"form": "masked", "device": "cpu", "threads": 1, "batch_size": 1, "median": 0.002, "low": 0.001,
           "high": 0.003, "images_per_second": 500.0}  # fmt: skip
    (last / "latency.json").write_text(json.dumps({"latencies": [one], "sentences": ["zeros <b>do not</b> help"]}))
    return folder


@pytest.fixture(scope="module")
def page(runs: Path) -> str:
    subjects, left_out = open_subjects([runs])
    assert left_out == []
    return report_page(subjects)


class Text(HTMLParser):
    """Collects a page's text without scripts and styles, and how often each tag opens."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: dict[str, int] = {}
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def read(page: str) -> Text:
    reader = Text()
    reader.feed(page)
    return reader


def test_every_section_is_there_and_says_what_the_files_say(page: str, runs: Path) -> None:
    text = " ".join(" ".join(read(page).words).split())
    for title in TITLES:
        assert title in text
    report = json.loads((runs / "half" / "report.json").read_text())
    pruned, dense = report["results"]["pruned"], report["results"]["dense"]
    for accuracy in (pruned["clean_accuracy"], pruned["robust_accuracy"], dense["robust_accuracy"]):
        assert f"{100 * accuracy['value']:.1f} ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})" in text
    pairs = list(zip(dense["samples"], pruned["samples"], strict=True))
    lost = sum(before["robust"] and not after["robust"] for before, after in pairs)
    assert f"{lost} ({lost / len(pairs):.1%})" in text
    for deviation in report["deviations"]:
        assert " ".join(deviation.split()) in text
    assert f"torch {report['record']['versions']['torch']}" in text
    assert f"apx evaluate {runs / 'half'} --protocol curve" in text
    assert f"apx bench {runs / 'half'}" in text
    assert "2 (1 to 3)" in text


def test_sparsity_per_layer_is_that_of_the_weights(page: str, runs: Path) -> None:
    state = open_target(runs / "half").module.state_dict()
    for name, tensor in state.items():
        if name.endswith("weight"):
            kept = int(tensor.count_nonzero())
            row = f"<td>{tensor.numel():,}</td><td>{kept:,}</td><td>{1 - kept / tensor.numel():.1%}</td>"
            assert f'<th scope="row">{name.removesuffix(".weight")}</th>{row}' in page


def test_it_loads_nothing_and_brings_its_library_once(page: str) -> None:
    reader = read(page)
    assert {link for link in reader.links if not link.startswith("#")} == set()
    assert len(re.findall(r"plotly\.js v\d", page)) == 1
    assert page.count('class="plotly-graph-div"') == 2
    assert reader.tags["svg"] >= 2, "figures are drawn where there is no JavaScript"
    assert len(page.encode()) <= 6_000_000


def test_what_runs_are_called_is_text(page: str) -> None:
    assert "<script>alert" not in page
    assert "<b>do not" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_gaps_and_mistakes_are_told(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "half", tmp_path / "one")
    shutil.copytree(runs / "half", tmp_path / "two")
    (tmp_path / "two" / "report.json").unlink()
    subjects, left_out = open_subjects([tmp_path])
    assert [subject.run.path.name for subject in subjects] == ["one"]
    assert left_out == [f"{tmp_path / 'two'} has not ended and is left out"]
    again, _ = open_subjects([tmp_path / "one", tmp_path / "one"])
    assert str(tmp_path / "one") in again[0].name
    (tmp_path / "none").mkdir()
    for paths, said in (
        ([], "no runs are given"),
        ([tmp_path / "two"], "has not ended: finish it with"),
        ([tmp_path / "missing"], "there is no directory"),
        ([tmp_path / "none"], "there is no finished run"),
    ):
        with pytest.raises(UserError, match=said):
            open_subjects(paths)
    with pytest.raises(UserError, match="there is no folder"):
        save_report(subjects, tmp_path / "no" / "report")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write to"):
        save_report(subjects, tmp_path / "file")
    (tmp_path / "one" / "latency.json").write_text("{}")
    with pytest.raises(UserError, match="no measurement of `apx bench`"):
        open_subjects([tmp_path / "one"])


@pytest.mark.slow
@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_it_without_scrolling_sideways_and_legibly(
    page: str, tmp_path: Path, width: int, scheme: str, javascript: bool
) -> None:
    if "APX_CHROMIUM" not in os.environ:
        pytest.skip("APX_CHROMIUM names no browser")
    playwright = pytest.importorskip("playwright.sync_api")
    (tmp_path / "index.html").write_text(page)
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=os.environ["APX_CHROMIUM"], args=["--no-sandbox"])
        tab = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=javascript
        ).new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((tmp_path / "index.html").as_uri())
        tab.wait_for_timeout(1000)
        assert len(asked) == 1
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(CONTRAST) >= 4.5
        browser.close()
