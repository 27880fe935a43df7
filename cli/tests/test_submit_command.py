"""`apx submit`: check, make and merge from the command line; mistakes are one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from apx.submission.candidate import AUTOATTACK

Apx = Callable[..., Result]


@pytest.fixture
def runs(apx: Apx) -> list[str]:
    for sparsity in ("0.5", "0.6", "0.7"):
        made = apx("run", "magnitude", "--arch", "cnn-small", "--width", "4", "--sparsity", sparsity, "--set",
                   "pretrain.epochs=1", "--set", "finetune.epochs=1", "--out", sparsity)  # fmt: skip
        assert made.exit_code == 0, made.stderr
        report = json.loads(Path(sparsity, "report.json").read_text())
        document = report["results"]["pruned"]
        document |= {"protocol": "standard", "attacks": [{"name": name, "parameters": {}} for name in AUTOATTACK]}
        Path(sparsity, "evaluations").mkdir()
        Path(sparsity, "evaluations", "standard.json").write_text(json.dumps(document))
    return ["0.5", "0.6", "0.7"]


def test_from_runs_to_a_row_of_a_board(apx: Apx, runs: list[str]) -> None:
    checked = apx("submit", "check", *runs, "--board", "lab", "--json")
    assert checked.exit_code == 0, checked.stderr
    assert {one["state"] for one in json.loads(checked.stdout)} <= {"ok", "advice"}
    made = apx("submit", "make", *runs, "--board", "lab", "--out", "bundle")
    assert made.exit_code == 0, made.stderr
    assert "wrote bundle: 3 checkpoints; the text of the issue is bundle/ISSUE.md" in made.stdout
    merged = apx("submit", "merge", "bundle", "--to", "board.json", "--n", "20")
    assert merged.exit_code == 0, merged.stderr
    assert "appended 3 results of Magnitude pruning to board.json" in merged.stdout
    rows = json.loads(apx("leaderboard", "--file", "board.json", "--source", "local", "--json").stdout)["rows"]
    assert [row["sparsity"] for row in rows] == [50, 60, 70]


def test_mistakes_are_one_sentence_and_leave_nothing(apx: Apx, runs: list[str]) -> None:
    Path("there").mkdir()
    for arguments, said in (
        (("check", *runs), "rules are broken; mend what is marked PROBLEM"),
        (("check", "nowhere"), "there is no directory nowhere"),
        (("check", *runs, "--board", "mine"), "unknown board 'mine': choose one of benchmark, lab"),
        (("make", *runs[:2], "--board", "lab", "--out", "bundle"), "these runs cannot be submitted"),
        (("make", *runs, "--board", "lab", "--out", "there"), "there exists: choose another --out"),
        (("make", *runs, "--board", "lab", "--out", "no/bundle"), "there is no folder no"),
        (("merge", "there"), "there is no bundle: it has no submission.json"),
    ):
        made = apx("submit", *arguments)
        assert made.exit_code == 2, arguments
        assert said in made.stderr
    assert not Path("bundle").exists()
    assert not Path("leaderboard.json").exists()
