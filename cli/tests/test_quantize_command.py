"""`apx quantize` on a network of a few hundred weights."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from apx.architectures import build
from apx.datasets import load_dataset, to_float
from apx.errors import UserError
from apx.export import export_state, read_metadata
from apx.quantisation import load_quantised
from apx_cli.commands.quantize import command

QUICK = ["--attack", "fgsm", "--n", "24", "--calibration", "32", "--device", "cpu"]


def network() -> torch.nn.Module:
    return build("cnn-small", num_classes=10, in_channels=3, image_size=16, width=2)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    export_state("net.safetensors", network(), metadata={"arch": "cnn-small", "width": "2", "dataset": "digits"})
    return Path("net.safetensors")


def quantize(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_table_has_both_networks_side_by_side(checkpoint: Path) -> None:
    result = quantize(checkpoint, *QUICK)
    assert result.exit_code == 0, result.exception
    for words in (
        "float32",
        "int8",
        "clean accuracy",
        "FGSM at 0.15 accuracy, each attacked itself",
        "float32 attacked",
    ):
        assert words in result.stdout
    assert "quantised 4 layers on 32 training images" in result.stdout
    assert list(Path().iterdir()) == [checkpoint]


def test_a_json_document_has_the_same_and_the_file_opens_again(checkpoint: Path) -> None:
    result = quantize(checkpoint, *QUICK, "--out", "int8.safetensors", "--json")
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert document["quantisation"]["calibration_images"] == 32
    assert document["float32"]["n"] == document["int8"]["n"] == document["transfer"]["n"] == 24
    assert document["file"] == "int8.safetensors"
    assert read_metadata("int8.safetensors")["arch"] == "cnn-small"
    net = load_quantised("int8.safetensors", network())
    samples = document["int8"]["samples"]
    x = to_float(load_dataset("digits").test.images[[sample["index"] for sample in samples]])
    assert net(x).argmax(dim=1).tolist() == [sample["prediction"] for sample in samples]


def test_a_file_is_replaced_only_with_force(checkpoint: Path) -> None:
    Path("int8.safetensors").write_text("mine")
    refused = quantize(checkpoint, *QUICK, "--out", "int8.safetensors")
    assert isinstance(refused.exception, UserError)
    assert "--force" in str(refused.exception)
    assert Path("int8.safetensors").read_text() == "mine"
    assert quantize(checkpoint, *QUICK, "--out", "int8.safetensors", "--force").exit_code == 0
    assert read_metadata("int8.safetensors")["dataset"] == "digits"


def test_an_attack_that_is_none_is_told_before_anything_is_loaded() -> None:
    refused = quantize("nowhere", "--attack", "pgdd")
    assert isinstance(refused.exception, UserError)
    assert "pgdd" in str(refused.exception)
