"""The model card: facts of a run and of a bare file, intervals, warnings, and loading that works as printed."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import apx
from apx.card import card
from apx.export import Format, export_state
from apx.runs import RunFolder, evaluation_file, open_run
from apx.target import Made, Opened, open_target

SUFFIX = {"safetensors": ".safetensors", "torch": ".pt", "onnx": ".onnx"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Prune a tiny network by filters, with an evaluation beside its report."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APX_HOME", str(folder.parent / "home"))
        made = apx.run(
            "magnitude", arch="cnn-small", width=4, dataset="digits", structure="S", sparsity=0.5, device="cpu",
            seed=3, out=folder, settings={"pretrain.epochs": 1, "finetune.epochs": 1},
        )  # fmt: skip
    document = json.loads((folder / "report.json").read_text())["results"]["pruned"]
    half = {"value": 0.5, "low": 0.25, "high": 0.75, "interval": "wilson"}
    warned = {"name": "zero-gradient", "text": "the loss has | no gradient"}
    names = ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t")
    attacks = [{"name": name, "parameters": {}} for name in names]
    plus = {**document, "protocol": "plus", "attacks": attacks, "n": 200, "robust_accuracy": half, "warnings": [warned]}
    file = evaluation_file(folder, plus)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(plus))
    return made


def carded(run: RunFolder, folder: Path, to: Format, *, shrink: bool = False) -> tuple[str, Path, Opened]:
    opened = open_target(run.path)
    file = folder / f"net{SUFFIX[to]}"
    report = export_state(file, opened.module, to, shrink=shrink, example_input=opened.example(),
                          metadata=opened.metadata() if to != "torch" else None)  # fmt: skip
    return card(file, opened, to, report), file, opened


def test_it_says_how_the_network_was_judged_and_on_what(run: RunFolder, tmp_path: Path) -> None:
    text, file, _ = carded(run, tmp_path, "safetensors")
    report = open_run(run.path).report
    assert report is not None
    clean = report["results"]["pruned"]["clean_accuracy"]
    for fact in (
        "| data | digits |",
        f"| checkpoint selected on | {report['selected_on']} |",
        f"| clean accuracy | {clean['value']:.1%} ({clean['low']:.1%} to {clean['high']:.1%}) |",
        "(AutoAttack plus, Linf 0.15) | 50.0% (25.0% to 75.0%) |",
        "| images | 200 of digits, test split |",
        "* the loss has | no gradient",
        f"| SHA-256 | {hashlib.sha256(file.read_bytes()).hexdigest()} |",
        f"{report['sparsity']['own']:.2%} of the filters",
        "preset quick, seed 3",
    ):
        assert fact in text
    for deviation in report["deviations"]:
        assert f"* {deviation}" in text


def test_the_front_matter_is_yaml(run: RunFolder, tmp_path: Path) -> None:
    text, _, _ = carded(run, tmp_path, "onnx")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "onnx"
    assert front["tags"] == ["adversarial-robustness", "pruning", "magnitude"]


@pytest.mark.parametrize("to", ["safetensors", "onnx"])
@pytest.mark.parametrize("shrink", [False, True])
def test_loading_works_as_printed(run: RunFolder, tmp_path: Path, to: Format, shrink: bool) -> None:
    text, _, opened = carded(run, tmp_path, to, shrink=shrink)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    images = opened.example(4)
    known = {"images": images.numpy() if to == "onnx" else images}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(code, known)  # what a reader copies
    found = torch.as_tensor(known["logits"]).detach()
    torch.testing.assert_close(found, opened.module(images).detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shrink", [False, True])
def test_a_pytorch_file_is_loaded_as_printed_where_apx_is_not_installed(
    run: RunFolder, tmp_path: Path, shrink: bool
) -> None:
    text, _, opened = carded(run, tmp_path, "torch", shrink=shrink)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    images = opened.example(4)
    torch.save(images, tmp_path / "images")
    torch.save(opened.module.state_dict(), tmp_path / "state")
    before = "import sys; sys.modules['apx'] = None\nimport torch\nimages = torch.load('images')\n"
    own = "class network:\n  @staticmethod\n  def load_state_dict(state): torch.save(dict(state), 'found')\n"
    after = "torch.save(logits, 'found')\n" if shrink else ""
    program = before + ("" if shrink else own) + code + after
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "found")
    if shrink:
        torch.testing.assert_close(found, opened.module(images).detach(), atol=1e-4, rtol=0)
    else:
        assert all(torch.equal(found[name], tensor) for name, tensor in opened.module.state_dict().items())


def test_of_a_bare_file_it_says_what_is_unknown(tmp_path: Path) -> None:
    network = apx.build("cnn-small", num_classes=10, image_size=16, width=4)
    file = tmp_path / "bare.pt"
    torch.save(network.state_dict(), file)
    opened = open_target(file, Made(arch="cnn-small", dataset="digits", width=4))
    export_state(tmp_path / "net.pt", opened.module, "torch")
    text = card(tmp_path / "net.pt", opened, "torch")
    assert "| method | unknown |" in text
    assert "| checkpoint selected on | unknown |" in text
    assert "Not evaluated. The threat of digits is Linf 0.15." in text
    assert "Nothing is known of its robustness here." in text
