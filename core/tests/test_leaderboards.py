"""The published tables as rows, own runs beside them, their order, and how they are shown."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.errors import UserError
from apx.figures.leaderboard import panels_of, save_leaderboard, series_of
from apx.leaderboards import SORTABLE, Row, Score, leaderboard
from apx.leaderboards.board import ordered
from apx.leaderboards.html import page
from apx.leaderboards.text import markdown, table_of

AUTOATTACK = [{"name": name, "parameters": {}} for name in ("apgd-ce", "apgd-t", "fab-t", "square")]


def results(**changes: object) -> dict:
    accuracy = {"value": 0.5, "low": 0.4, "high": 0.6, "interval": "wilson"}
    return {
        "schema_version": "1", "target": "runs/one", "method": "hydra", "arch": "resnet18", "dataset": "digits",
        "split": "test", "threat": {"norm": "Linf", "eps": 0.15}, "protocol": "quick",
        "attacks": [{"name": "pgd-20", "parameters": {}}], "n": 360, "clean_accuracy": {**accuracy, "value": 0.9},
        "robust_accuracy": accuracy, "seed": 0, "versions": {"torch": "2"}, "device": "cpu", "selected_on": "none",
        "warnings": [], "samples": [], "created": "2026-01-01T00:00:00+00:00", **changes,
    }  # fmt: skip


def write_run(folder: Path, *evaluations: dict, report: dict | None = None, **request: object) -> Path:
    """Write the files of a finished run that a leaderboard reads."""
    folder.mkdir(parents=True)
    asked = {"method": "hydra", "arch": "resnet18", "dataset": "digits", "preset": "quick", "width": None, **request}
    record = {
        "apx_run": 1, "request": asked, "method": "hydra", "variant": {"structure": "US"}, "settings": {},
        "device": "cpu", "precision": "fp32", "threads": 1, "versions": {"torch": "2"}, "created": "2026-01-01",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    body = {
        "apx_report": 1, "run": str(folder), "record": record, "selected_on": "none", "dense_origin": "",
        "sparsity": {"requested": 0.9, "reported": 0.899, "unit": "weights", "own": 0.9},
        "results": {"pruned": results()}, "seconds": {"total": 1.0, "phases": {}}, "deviations": [],
        "paper_command": "apx run hydra",
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps({**body, **(report or {})}))
    for number, document in enumerate(evaluations):
        (folder / "evaluations").mkdir(exist_ok=True)
        (folder / "evaluations" / f"{number}.json").write_text(json.dumps(document))
    return folder


def test_154_numbers_are_published_and_14_dashes() -> None:
    rows = leaderboard(source="published")
    assert len(rows) == 168
    assert sum(row.robust is not None for row in rows) == 154
    assert {(row.clean is None) == (row.robust is None) for row in rows} == {True}
    assert {(row.eps, row.n, row.attack) for row in rows} == {(0.031, 10_000, "AutoAttack")}


@pytest.mark.skipif("APX_BENCHMARK_DATA" not in os.environ, reason="APX_BENCHMARK_DATA names no reference tables")
def test_the_numbers_are_those_of_the_reference() -> None:
    records = json.loads((Path(os.environ["APX_BENCHMARK_DATA"]) / "leaderboards.json").read_text())["records"]
    printed = {
        (one["method"], one["dataset"].lower(), one["structure"], one["arch"], one["sparsity"]): (
            one["clean"],
            one["aa"],
            one["bold"],
        )
        for one in records
    }
    found = {
        (row.name, row.dataset, row.structure, row.arch, row.sparsity): (
            row.clean and row.clean.value,
            row.robust and row.robust.value,
            row.bold,
        )
        for row in leaderboard(source="published")
    }
    assert found == printed


def test_inconsistent_bold_has_a_footnote_each_and_nothing_else_is_bold_out_of_rank() -> None:
    """Bold are the three best of an unstructured column, the best of a structured one; four cells break that."""
    rows = [row for row in leaderboard(source="published") if row.robust is not None]
    columns: dict[tuple, list[Row]] = {}
    for row in rows:
        columns.setdefault((row.dataset, row.structure, row.arch, row.sparsity), []).append(row)
    odd = []
    for (_, structure, _, _), column in columns.items():
        best = sorted(column, key=lambda row: -row.robust.value if row.robust else 0)[: 3 if structure == "US" else 1]
        odd += [row for row in column if row.bold != (row in best)]
    assert {(row.name, row.arch, row.sparsity, row.bold) for row in odd} == {
        ("RADMM", "resnet18", 95, True), ("RobustBird", "resnet18", 95, False),
        ("HARP", "vgg16", 95, True), ("RobustBird", "vgg16", 95, False),
    }  # fmt: skip
    for row in odd:
        assert any("bold" in remark for remark in row.remarks)


def test_the_most_searching_evaluation_of_a_run_counts(tmp_path: Path) -> None:
    standard = results(protocol="standard", n=100, attacks=AUTOATTACK)
    transfer = results(protocol="plus", source="elsewhere")
    clean = results(protocol="full", robust_accuracy=None)
    write_run(tmp_path / "runs" / "one", results(n=20), standard, transfer, clean)
    [row] = leaderboard(source="local", runs=[tmp_path / "runs"])
    assert (row.attack, row.n, row.source) == ("AutoAttack", 100, "local")
    assert row.robust == Score(50.0, 40.0, 60.0)
    assert (row.sparsity, row.reported) == (90.0, pytest.approx(89.9))


def test_what_keeps_a_run_from_the_published_tables_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", width=16, set={"mix": 0.0}, epochs_scale=2.0)
    [row] = leaderboard(source="local", runs=[run])
    assert row.differs == (
        "data digits", "n 360", "attack PGD-20", "eps 0.15", "width 16", "preset quick", "epochs x2",
        "settings of its own",
    )  # fmt: skip
    alike = results(
        dataset="cifar10", protocol="benchmark2024", n=10_000, threat={"norm": "Linf", "eps": 0.031},
        selected_on="test", attacks=AUTOATTACK,
    )  # fmt: skip
    run = write_run(tmp_path / "two", alike, preset="paper", dataset="cifar10")
    [row] = leaderboard(source="local", runs=[run])
    assert row.differs == ("selected on test",)
    assert not row.bold
    other = {"requested": 0.9, "reported": 0.4, "unit": "filters", "own": 0.8}
    run = write_run(tmp_path / "three", report={"sparsity": other}, arch="cnn-small")
    [row] = leaderboard(source="local", runs=[run])
    assert {"sparsity of filters, not weights", "sparsity 80 in place of 90"} <= set(row.differs)


def test_a_stronger_evaluation_that_is_not_the_protocol_is_a_remark(tmp_path: Path) -> None:
    weaker = {"value": 0.3, "low": 0.2, "high": 0.4, "interval": "wilson"}
    standard = results(protocol="standard", attacks=AUTOATTACK)
    fuller = results(protocol="curve", attacks=[{"name": "ho-fmn", "parameters": {}}], robust_accuracy=weaker)
    run = write_run(tmp_path / "one", standard, fuller)
    [row] = leaderboard(source="local", runs=[run])
    assert (row.attack, row.robust and row.robust.value) == ("AutoAttack", 50.0)
    assert row.remarks == (f"HO-FMN on 360 images leaves the network of {run} 30.00 % robust accuracy.",)


def test_a_results_document_is_a_row_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    key = "HYDRA_Sehwag2020Hydra_R18_CIFAR10_S_75"
    file.write_text(json.dumps(results(target=key, sparsity={"reported": 0.74, "requested": None, "unit": None})))
    [row] = leaderboard(source="local", runs=[], files=[file])
    assert (row.method, row.structure, row.sparsity, row.reported) == ("hydra", "S", 74.0, 74.0)
    file.write_text(json.dumps(results(method=None)))
    with pytest.raises(UserError, match="names no pruning method"):
        leaderboard(source="local", runs=[], files=[file])


def test_cost_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    shrunk = {"shrunk": {"flops_before": 200, "flops_after": 50}}
    run = write_run(tmp_path / "one", report=shrunk)
    times = [("dense", 1, 0.004), ("masked", 1, 0.003), ("shrunk", 1, 0.002), ("shrunk", 64, 0.001)]
    latencies = [{"form": form, "device": "cpu", "batch_size": n, "median": s} for form, n, s in times]
    (run / "latency.json").write_text(json.dumps({"latencies": latencies}))
    [row] = leaderboard(source="local", runs=[run])
    assert (row.flops, row.milliseconds) == (25.0, 2.0)
    assert list(panels_of([row])) == ["sparsity", "flops", "milliseconds"]
    (run / "latency.json").write_text("{}")
    said: list[str] = []
    assert leaderboard(source="local", runs=[run], warn=said.append) == []
    assert "latency.json is no measurement of `apx bench`" in said[0]


def test_runs_that_have_not_ended_or_were_not_attacked_have_no_row(tmp_path: Path) -> None:
    (write_run(tmp_path / "unfinished") / "report.json").unlink()
    write_run(tmp_path / "unattacked", report={"results": {}})
    assert leaderboard(source="local", runs=[tmp_path]) == []
    (write_run(tmp_path / "broken") / "run.json").write_text("{")
    said: list[str] = []
    leaderboard(source="local", runs=[tmp_path], warn=said.append)
    assert [sentence for sentence in said if "broken" in sentence]


def test_a_file_of_submitted_results_is_read(tmp_path: Path) -> None:
    cell = {"arch": "resnet18", "sparsity": 90, "clean": 80.0, "robust": 45.0}
    board = {
        "schema_version": "1", "name": "mine", "title": "Mine", "dataset": "cifar10", "structure": "US",
        "threat": {"norm": "Linf", "eps": 0.0314}, "protocol": "standard", "archs": ["resnet18"], "sparsities": [90],
        "source": {"url": "https://example.org", "revision": None, "date": "2026-01-01"},
        "rows": [{"method": "new", "key": None, "cells": [cell]}],
    }  # fmt: skip
    file = tmp_path / "board.json"
    file.write_text(json.dumps(board))
    [row] = leaderboard(source="local", runs=[], files=[file])
    assert (row.method, row.source, row.robust) == ("new", "local", Score(45.0))
    for content, said in (("{", "no JSON"), ("{}", "is no leaderboard")):
        file.write_text(content)
        with pytest.raises(UserError, match=said):
            leaderboard(source="local", runs=[], files=[file])


def test_filters_take_several_values_and_name_the_allowed_ones() -> None:
    rows = leaderboard(source="published", dataset=["cifar10"], structure=["us"], arch=["vgg16"], sparsity=[90, 99],
                       method=["HYDRA", "rst"])  # fmt: skip
    assert {(row.method, row.sparsity) for row in rows} == {(m, s) for m in ("hydra", "rst") for s in (90.0, 99.0)}
    for wrong, said in (
        ({"dataset": ["cifar11"]}, "no result has dataset 'cifar11': there are cifar10, svhn"),
        ({"sparsity": [91]}, "no result has sparsity '91': there are 50, 75, 90, 95, 99"),
        ({"metric": "loss"}, "unknown metric 'loss': choose one of robust, clean"),
        ({"source": "mine"}, "unknown source 'mine': choose one of published, local, all"),
        ({"sort": "colour"}, "unknown column 'colour'"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            leaderboard(**{"source": "published", **wrong})


scores = st.none() | st.integers(0, 100).map(lambda value: Score(float(value)))
rows_of_any_kind = st.builds(
    Row, source=st.sampled_from(["published", "local"]), place=st.just("here"), method=st.sampled_from("abc"),
    name=st.just("A"), dataset=st.sampled_from(["cifar10", "svhn"]), arch=st.just("resnet18"),
    structure=st.sampled_from(["US", "S"]), sparsity=st.sampled_from([50.0, 90.0]), clean=scores, robust=scores,
    attack=st.just("AutoAttack"), protocol=st.just("standard"), norm=st.just("Linf"), eps=st.just(0.031),
    n=st.none() | st.integers(1, 9), flops=st.none() | st.floats(1, 99),
)  # fmt: skip


@given(st.lists(rows_of_any_kind, max_size=8), st.sampled_from(SORTABLE), st.sampled_from(["robust", "clean"]))
def test_any_column_orders_with_missing_values_last(rows: list[Row], column: str, metric: str) -> None:
    found = ordered(rows, metric, column)
    assert sorted(map(id, found)) == sorted(map(id, rows))
    values = [getattr(row, column) for row in found]
    known = [value.value if isinstance(value, Score) else value for value in values if value is not None]
    assert values[: len(known)] == [value for value in values if value is not None]
    assert known == sorted(known, reverse=column in ("clean", "robust", "n"))


def test_the_best_come_first_within_a_column_of_the_tables() -> None:
    rows = leaderboard(source="published", dataset=["cifar10"], structure=["S"], metric="clean")
    columns = [(row.arch, row.sparsity) for row in rows]
    assert columns == sorted(columns)
    clean = [row.clean.value for row in rows if row.clean and (row.arch, row.sparsity) == ("vgg16", 50)]
    assert clean == sorted(clean, reverse=True)


def test_markdown_is_a_table_with_its_footnotes() -> None:
    made = table_of(leaderboard(source="published", dataset=["cifar10"], structure=["US"], sparsity=[95]))
    lines = markdown(made).splitlines()
    body = lines[: lines.index("")]
    assert {line.replace("\\|", "").count("|") for line in body} == {len(made.columns) + 1}
    assert len(body) == 2 + 20
    for number in re.findall(r"\[(\d+)\]", "\n".join(body)):
        assert any(line.startswith(f"{number}. ") for line in lines)
    assert "**42.56**" in markdown(made)


def test_the_page_escapes_what_runs_are_called(tmp_path: Path) -> None:
    write_run(tmp_path / "<script>alert(1)", set={"x": 1})
    made = page(table_of(leaderboard(runs=[tmp_path], source="local")))
    assert "<script>alert" not in made
    assert "&lt;script&gt;alert(1)" in made
    assert "http" not in made.replace("https://github.com", ""), "nothing is loaded from elsewhere"


@pytest.mark.parametrize("kind", ["png", "svg", "html"])
def test_robust_accuracy_is_drawn_against_cost(tmp_path: Path, kind: str) -> None:
    rows = leaderboard(dataset=["cifar10"], structure=["S"], arch=["vgg16"], source="published")
    save_leaderboard(rows, tmp_path / f"figure.{kind}")
    start = (tmp_path / f"figure.{kind}").read_bytes()[:100]
    assert {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype"}[kind] in start
    assert list(panels_of(rows)) == ["sparsity"]
    assert len(series_of(rows)) == 4


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no robust accuracy"):
        save_leaderboard([], tmp_path / "figure.png")
    many = [
        Row("local", "x", f"m{n}", "m", "d", "a", "US", 90.0, None, Score(1.0), "PGD", "quick", "Linf", 0.1)
        for n in range(13)
    ]
    with pytest.raises(UserError, match="12 methods apart, not 13"):
        save_leaderboard(many, tmp_path / "figure.png")
