"""`apx report`: the page is written, and mistakes are one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Apx = Callable[..., Result]


def test_a_page_is_written_for_a_folder_of_runs(apx: Apx) -> None:
    made = apx("run", "magnitude", "--arch", "cnn-small", "--width", "4", "--set", "pretrain.epochs=1", "--set",
               "finetune.epochs=1", "--out", "runs/mine")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    shown = apx("report", "runs")
    assert shown.exit_code == 0, shown.exception
    assert shown.stdout.startswith("wrote report/index.html: 1 run, ")
    assert "magnitude cnn-small 90 %" in Path("report/index.html").read_text()
    assert json.loads(apx("report", "runs/mine", "--out", "other", "--json").stdout) == {
        "page": "other/index.html",
        "runs": ["runs/mine"],
    }


def test_mistakes_are_one_sentence(apx: Apx) -> None:
    Path("empty").mkdir()
    for arguments, said in (
        ((), "Missing argument 'RUNS...'"),
        (("nowhere",), "there is no directory nowhere"),
        (("empty",), "there is no finished run in empty: make one with `apx run`"),
    ):
        made = apx("report", *arguments)
        assert made.exit_code == 2
        assert said in made.stderr
    assert not Path("report").exists()
