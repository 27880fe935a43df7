"""`apx leaderboard`: tables, documents, files, mistakes; and no torch for numbers that are printed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Apx = Callable[..., Result]


def test_the_published_rows_are_printed_with_their_footnotes(apx: Apx) -> None:
    shown = apx("leaderboard", "--dataset", "cifar10", "--structure", "US", "--arch", "resnet18", "--sparsity", "95")
    assert shown.exit_code == 0, shown.exception
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("Of all rows: source published; data cifar10; network resnet18; structure US;")
    assert [line.split()[0] for line in lines[4:7]] == ["FlyingBird", "HARP", "RobustBird"]
    assert any(line.startswith("[1] ") for line in lines)
    assert "Not printed in bold" in shown.stdout


def test_json_holds_every_row_and_markdown_a_table(apx: Apx) -> None:
    rows = json.loads(apx("leaderboard", "--source", "published", "--json").stdout)["rows"]
    assert len(rows) == 168
    assert apx("leaderboard", "--markdown").stdout.startswith("| method | source |")


def test_an_evaluated_run_stands_beside_the_published_ones(apx: Apx) -> None:
    made = apx("run", "magnitude", "--arch", "cnn-small", "--width", "4", "--set", "pretrain.epochs=1", "--set",
               "finetune.epochs=1", "--out", "runs/mine", "--device", "cpu")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    [row] = json.loads(apx("leaderboard", "--source", "local", "--json").stdout)["rows"]
    assert (row["method"], row["attack"], row["n"]) == ("magnitude", "PGD-20", 360)
    assert "data digits" in row["differs"]
    assert len(json.loads(apx("leaderboard", "--json").stdout)["rows"]) == 169
    written = apx("leaderboard", "--html", "board.html", "--plot", "board.svg", "--method", "magnitude")
    assert written.exit_code == 0, written.exception
    assert "magnitude" in Path("board.html").read_text()
    assert Path("board.svg").exists()


def test_mistakes_are_one_sentence(apx: Apx) -> None:
    for arguments, said in (
        (("--arch", "resnet19"), "no result has arch 'resnet19': there are resnet18, vgg16"),
        (("--runs", "nowhere"), "there is no directory nowhere"),
        (("--file", "nowhere.json"), "cannot read nowhere.json"),
        (("--json", "--markdown"), "exclude each other"),
        (("--html", "no/board.html"), "there is no folder no"),
        (("--plot", "board.pdf"), "must end in one of .png, .svg, .html"),
    ):
        result = apx("leaderboard", *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert said in result.stderr


def test_printing_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    program = (
        "import sys; from click.testing import CliRunner; from apx_cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['leaderboard', '--runs', sys.argv[1]]).exit_code == 0\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
