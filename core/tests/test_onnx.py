"""ONNX files answer as the network does, for any batch size; what cannot be exported leaves no file."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from apx.architectures import Normalisation, build
from apx.errors import UserError
from apx.export import export_state
from apx.onnx_export import OPSET, export_onnx

IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def logits(path: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "cnn-small"])
def test_logits_are_those_of_the_network_with_its_normalisation(tmp_path: Path, arch: str) -> None:
    torch.manual_seed(0)
    statistics = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    network = build(arch, num_classes=10, image_size=16, width=4, normalisation=statistics).eval()
    file = tmp_path / "net.onnx"
    assert export_state(file, network, "onnx", example_input=IMAGES, metadata={"arch": arch}) is None
    for batch in (IMAGES, IMAGES[:1]):
        with torch.no_grad():
            torch.testing.assert_close(logits(file, batch), network(batch), atol=1e-4, rtol=0)
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"arch": arch}
    assert [one.version for one in model.opset_import if one.domain == ""] == [OPSET]


def test_dead_filters_are_not_in_a_shrunk_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("vgg16", num_classes=10, image_size=16, width=8).eval()
    with torch.no_grad():
        for name in ("3", "10"):
            convolution, norm = (
                network.get_submodule(f"features.{name}"),
                network.get_submodule(f"features.{int(name) + 1}"),
            )
            for tensor in (convolution.weight, norm.weight, norm.bias, norm.running_mean):
                tensor[: len(tensor) // 2] = 0
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    export_state(whole, network, "onnx", example_input=IMAGES)
    report = export_state(small, network, "onnx", shrink=True, example_input=IMAGES)
    assert report is not None
    assert report.filters_removed > 0
    assert small.stat().st_size < whole.stat().st_size
    with torch.no_grad():
        torch.testing.assert_close(logits(small, IMAGES), network(IMAGES), atol=1e-4, rtol=0)


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] if float(x.sum()) > 0 else x.flatten(1)[:, 3:6]


def test_what_cannot_be_exported_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Odd cannot be exported to ONNX"):
        export_onnx(tmp_path / "odd.onnx", Odd(), IMAGES, {})
    with pytest.raises(UserError, match="needs an example input"):
        export_state(tmp_path / "net.onnx", Odd(), "onnx")
    with pytest.raises(UserError, match="choose one of safetensors, torch, onnx"):
        export_state(tmp_path / "net.tf", Odd(), "tf")  # type: ignore[arg-type]
    monkeypatch.setattr("apx.onnx_export.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ONNX needs onnx and onnxscript: pip install 'apx-core\[onnx\]'"):
        export_onnx(tmp_path / "net.onnx", build("cnn-small", num_classes=3, width=2), IMAGES, {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.onnx_export.TOLERANCE", -1.0)
    network = build("cnn-small", num_classes=3, image_size=16, width=2)
    with pytest.raises(UserError, match="answers otherwise"):
        export_onnx(tmp_path / "net.onnx", network, IMAGES, {})
    assert list(tmp_path.iterdir()) == []
