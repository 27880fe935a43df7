"""runs and cache: what they list, and what they refuse to delete."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Apx = Callable[..., Result]


def make_run(folder: Path, **report: Any) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    request = {"method": "hydra", "arch": "resnet18", "dataset": "digits", "seed": 0}
    created = "2026-01-02T03:04:05+00:00"
    (folder / "run.json").write_text(json.dumps({"apx_run": 1, "request": request, "created": created}))
    if report:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


def report(**changes: Any) -> dict[str, Any]:
    accuracy = {"value": 0.5, "low": 0.4, "high": 0.6, "interval": "wilson"}
    attack = {"name": "pgd-20", "parameters": {"steps": 20}}
    result = {
        "clean_accuracy": accuracy,
        "robust_accuracy": accuracy,
        "attacks": [attack],
        "threat": {"norm": "Linf", "eps": 8 / 255},
        "n": 100,
    }
    return {
        "run": "runs/mine",
        "sparsity": {"reported": 0.9, "requested": 0.9, "own": 0.91, "unit": "filters"},
        "results": {"dense": result, "pruned": result},
        "seconds": {"total": 12.3, "phases": {}},
        "deviations": ["pretrain: epochs 12 (paper 100)"],
        "paper_command": "apx run hydra --preset paper",
        **changes,
    }


def test_list_without_any_run(apx: Apx) -> None:
    assert "no run directories" in apx("runs", "list").stderr
    assert json.loads(apx("runs", "list", "--json").stdout) == []
    result = apx("runs", "list", "--dir", "elsewhere")
    assert (result.exit_code, result.stdout) == (2, "")


def test_list_tells_ended_runs_from_those_that_can_be_resumed(apx: Apx) -> None:
    make_run(Path("runs/ended"), **report())
    make_run(Path("runs/killed"))
    (Path("runs") / "not-a-run").mkdir()
    broken = make_run(Path("runs/broken"))
    (broken / "run.json").write_text("{")
    result = apx("runs", "list")
    assert "broken" in result.stderr
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.startswith("runs/")}
    assert set(rows) == {"runs/ended", "runs/killed"}
    assert "90.00%" in rows["runs/ended"]
    assert "can be resumed" in rows["runs/killed"]
    listed = json.loads(apx("runs", "list", "--json").stdout)
    assert {run["path"]: run["finished"] for run in listed} == {"runs/ended": True, "runs/killed": False}


def test_show_prints_the_table_or_how_to_continue(apx: Apx) -> None:
    make_run(Path("runs/ended"), **report())
    shown = apx("runs", "show", "runs/ended").stdout
    assert "PGD-20 at 8/255 accuracy" in shown
    assert "50.0% (40.0% to 60.0%)" in shown
    assert "apx run hydra --preset paper" in shown
    make_run(Path("runs/killed"))
    assert "apx run --resume runs/killed" in apx("runs", "show", "runs/killed").stdout
    assert json.loads(apx("runs", "show", "runs/killed", "--json").stdout)["report"] is None


def test_show_warns_of_what_has_no_weight_left(apx: Apx) -> None:
    make_run(Path("runs/ended"), **report())
    make_run(Path("runs/collapsed"), **report(collapsed=["layer conv1 has no weight left"]))
    assert apx("runs", "show", "runs/ended").stderr == ""
    assert apx("runs", "show", "runs/collapsed").stderr == "Warning: layer conv1 has no weight left\n"


@pytest.mark.parametrize("results", [{}, {"pruned": report()["results"]["pruned"]}])
def test_show_prints_reports_without_evaluation_or_without_a_dense_network(apx: Apx, results: dict[str, Any]) -> None:
    make_run(Path("runs/ended"), **report(results=results))
    shown = apx("runs", "show", "runs/ended")
    assert shown.exit_code == 0, shown.exception
    assert "91.00% (asked 90.00%)" in shown.stdout


def test_rm_asks_and_deletes(apx: Apx) -> None:
    run = make_run(Path("runs/mine"))
    for answer in ("n\n", ""):
        result = apx("runs", "rm", "runs/mine", answer=answer)
        assert result.exit_code == 2
        assert run.exists()
    assert apx("runs", "rm", "runs/mine", answer="y\n").exit_code == 0
    assert not run.exists()
    run = make_run(Path("runs/mine"))
    assert apx("runs", "rm", "runs/mine", "--yes").stdout == "deleted runs/mine\n"
    assert not run.exists()


def test_rm_refuses_what_is_not_a_run_directory(apx: Apx) -> None:
    run = make_run(Path("runs/mine"))
    precious = Path("precious")
    precious.mkdir()
    (precious / "thesis.tex").write_text("...")
    alike = Path("alike")
    alike.mkdir()
    (alike / "run.json").write_text('{"scripts": {}}')
    link = Path("link")
    link.symlink_to(run.absolute())
    for target in ("precious", "alike", "precious/thesis.tex", "nowhere", "runs", "."):
        result = apx("runs", "rm", "runs/mine", target, "--yes")
        assert result.exit_code == 2, target
        assert result.stderr.startswith("Error: ")
        assert run.exists()  # all of them or none
    assert apx("runs", "rm", "link", "--yes").exit_code == 2
    assert run.exists()
    assert (precious / "thesis.tex").exists()


def test_cache_clears_only_what_apx_keeps_there(apx: Apx, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert apx("cache", "clear").stdout == "nothing to clear\n"
    (home / "dense" / "abc").mkdir(parents=True)
    (home / "dense" / "abc" / "model.safetensors").write_bytes(b"x" * 2048)
    (home / "mine.txt").write_text("not apx's")
    sizes = {part["name"]: part["bytes"] for part in json.loads(apx("cache", "info", "--json").stdout)["parts"]}
    assert sizes["dense"] == 2048
    assert "2.0 KiB" in apx("cache", "info").stdout
    assert apx("cache", "clear", "dense", answer="n\n").exit_code == 2
    assert (home / "dense").exists()
    assert apx("cache", "clear", "data", "--yes").stdout == "nothing to clear\n"
    assert apx("cache", "clear", "--yes").exit_code == 0
    assert not (home / "dense").exists()
    assert (home / "mine.txt").exists()
    assert "dense" in apx("cache", "clear", "dens").stderr
