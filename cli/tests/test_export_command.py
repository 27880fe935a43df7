"""`apx export`: each kind of file with its card, and mistakes that leave nothing behind."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import Result

Apx = Callable[..., Result]


@pytest.fixture
def run(apx: Apx) -> str:
    made = apx("run", "magnitude", "--arch", "cnn-small", "--width", "4", "--structure", "S", "--sparsity", "0.5",
               "--set", "pretrain.epochs=1", "--set", "finetune.epochs=1", "--out", "one")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    return "one"


def test_each_kind_of_file_has_a_card_beside_it(apx: Apx, run: str) -> None:
    for arguments, name in (
        ((), "one-exported.safetensors"),
        (("--to", "torch"), "one-exported.pt"),
        (("--to", "torch", "--shrink"), "one-exported.pt2"),
        (("--to", "onnx", "--shrink"), "one-exported.onnx"),
        (("--dense", "--out", "dense.safetensors"), "dense.safetensors"),
    ):
        made = apx("export", run, *arguments)
        assert made.exit_code == 0, made.output
        assert f"wrote {name}\nwrote {name}.md\n" in made.stdout
        assert ("removed" in made.stdout) == ("--shrink" in arguments)
        assert name in Path(f"{name}.md").read_text()
    onnx.checker.check_model(onnx.load("one-exported.onnx"))
    assert "| method | unknown |" in Path("dense.safetensors.md").read_text()


def test_mistakes_are_one_sentence_and_leave_nothing(apx: Apx, run: str) -> None:
    Path("there.onnx.md").write_text("mine")
    for arguments, said in (
        (("--to", "onnx", "--out", "there.onnx"), "the file there.onnx.md exists: choose another --out"),
        (("--out", "no/file.safetensors"), "there is no folder no"),
        (("--to", "tf"), "Invalid value for '--to'"),
    ):
        made = apx("export", run, *arguments)
        assert made.exit_code == 2
        assert said in made.stderr
    assert Path("there.onnx.md").read_text() == "mine"
    assert not Path("there.onnx").exists()
    made = apx("export", run, "--to", "onnx", "--out", "there.onnx", "--no-card")
    assert made.exit_code == 0, made.output
    assert Path("there.onnx.md").read_text() == "mine"
