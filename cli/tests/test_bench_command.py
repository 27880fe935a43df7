"""`apx bench`: the table, the document, where it is kept, mistakes."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Apx = Callable[..., Result]
QUICK = ("--device", "cpu", "--seconds", "0.01", "--rounds", "2", "--batch-size", "2")


def test_a_run_keeps_its_numbers(apx: Apx) -> None:
    made = apx("run", "magnitude", "--arch", "cnn-small", "--width", "4", "--structure", "S", "--set",
               "pretrain.epochs=1", "--set", "finetune.epochs=1", "--eval", "none", "--out", "run",
               "--device", "cpu")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    shown = apx("bench", "run", *QUICK)
    assert shown.exit_code == 0, shown.exception
    for word in ("dense", "masked", "shrunk", "zeros", "times fewer operations"):
        assert word in shown.stdout
    document = json.loads(Path("run/latency.json").read_text())
    assert document["target"] == "run"
    assert {one["form"] for one in document["latencies"]} == {"dense", "masked", "shrunk"}
    printed = json.loads(apx("bench", "run", *QUICK, "--json", "--out", "other.json").stdout)
    assert printed["results"][0] == json.loads(Path("other.json").read_text())


def test_mistakes_are_one_sentence(apx: Apx) -> None:
    for arguments, said in (
        (("nothing", *QUICK), "there is no run directory or checkpoint nothing"),
        (("a", "b", "--out", "c.json"), "takes one TARGET, not 2"),
        (("a", "--out", "no/c.json"), "there is no folder no"),
    ):
        result = apx("bench", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
