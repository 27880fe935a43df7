"""Runs: what they write, that they resume bitwise, that mistakes stop them before anything happens."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from apx import AfterTraining, Masks, Observer, Run
from apx.architectures import build
from apx.claim import claimed
from apx.collapse import collapsed
from apx.conformance import implemented_variants
from apx.errors import UserError
from apx.masked_model import MaskedModel
from apx.paths import settle
from apx.registry import entry
from apx.runner.cache import load_dense, store_dense
from apx.runner.interrupts import Interrupted
from apx.runner.report import paper_command
from apx.runner.request import Request, build_settings, choose_variant, resolve
from apx.runner.start import resume, start
from apx.runs import open_run, remove_run

TINY = {"batch_size": 400, "steps": 1, "epochs": 2}
HYDRA = {f"{phase}.{key}": value for phase in ("pretrain", "prune", "finetune") for key, value in TINY.items()}
TWIN = {f"{phase}.{key}": value for phase in ("pretrain", "train") for key, value in TINY.items()}


def request(method: str = "hydra", **changes: Any) -> Request:
    settings = {"hydra": HYDRA, "twinrep": TWIN}.get(method, {})
    base = Request(method=method, arch="cnn-small", width=2, set=settings, eval="none", device="cpu")
    return replace(base, **changes)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Killed(BaseException):
    """Stands for a kill: nothing of the run gets a chance to clean up after it."""


class KillAt(Observer):
    """Ends the process's life at the n-th step of the run."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class SignalAt(KillAt):
    """Sends SIGTERM at the n-th step, `pause` seconds after which the checkpoint is written."""

    def __init__(self, steps: int, pause: float = 0.0) -> None:
        super().__init__(steps)
        self.pause = pause

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(self.pause)


def results(directory: Path) -> dict[str, torch.Tensor]:
    masks = load_file(directory / "masks.safetensors")
    return {**load_file(directory / "model.safetensors"), **{f"mask {n}": m for n, m in masks.items()}}


def assert_same(a: Path, b: Path) -> None:
    first, second = results(a), results(b)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == []


def test_a_run_leaves_what_it_promises(tmp_path: Path) -> None:
    report = start(request(), out=tmp_path / "run")
    written = {path.name for path in (tmp_path / "run").iterdir()}
    files = {"run.json", "metrics.jsonl", "checkpoints", "model.safetensors", "masks.safetensors", "report.json"}
    assert written == files
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == report
    masks, model = load_file(tmp_path / "run" / "masks.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    zeros = sum(int((model[name] == 0).sum()) for name in masks)
    total = sum(mask.numel() for mask in masks.values())
    assert report["sparsity"]["reported"] == zeros / total
    assert report["sparsity"]["reported"] == pytest.approx(0.9, abs=0.01)
    epochs = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(e["phase"], e["epoch"]) for e in epochs] == [
        (phase, epoch) for phase in ("pretrain/train", "prune/scores", "finetune") for epoch in (0, 1)
    ]


def test_a_report_names_what_pruning_left_without_weights(tmp_path: Path) -> None:
    brief = {"pretrain.epochs": 1, "pretrain.batch_size": 400, "finetune.epochs": 0}
    thin = request("magnitude", budget="global", sparsity=0.99, set=brief)
    report = start(thin, out=tmp_path / "run")
    pruned = build("cnn-small", num_classes=10, image_size=16, width=2)
    pruned.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    assert report["collapsed"] == collapsed(pruned) != []
    assert start(request("magnitude", sparsity=0.2, set=brief), out=tmp_path / "dense")["collapsed"] == []


@pytest.mark.parametrize(("method", "steps"), [("hydra", 18), ("twinrep", 12)])
def test_a_killed_run_resumes_to_the_same_bits(method: str, steps: int, tmp_path: Path, cache: Path) -> None:
    start(request(method), out=tmp_path / "whole")
    for step in range(1, steps + 1, 3):  # first and last steps of phases, and between
        shutil.rmtree(cache / "dense")  # or the killed run would take its pretraining from there
        killed = tmp_path / f"killed-{step}"
        with pytest.raises(Killed):
            start(request(method), out=killed, observers=[KillAt(step)])
        resume(killed)
        assert_same(tmp_path / "whole", killed)


def test_a_run_that_fails_leaves_no_writer_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(path: Path, name: str) -> None:
        time.sleep(0.5)
        settle(path, name)

    monkeypatch.setattr("apx.runner.directory.settle", slowly)
    with pytest.raises(Killed):
        start(request(), out=tmp_path / "run", observers=[KillAt(4)])  # right after the first epoch's checkpoint
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [
        "pretrain--train.partial.safetensors"
    ]


def test_one_process_at_a_time_works_in_a_directory(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        start(request(), out=tmp_path / "run", observers=[KillAt(4)])
    before = sorted((tmp_path / "run").rglob("*"))
    with claimed(tmp_path / "run"):
        with pytest.raises(UserError, match=r"another process works in .*run: wait for it, or stop it first"):
            resume(tmp_path / "run")
        with pytest.raises(UserError, match="another process"):
            remove_run(open_run(tmp_path / "run"))
    assert sorted((tmp_path / "run").rglob("*")) == before
    resume(tmp_path / "run")


def test_sigterm_saves_and_says_how_it_ended(tmp_path: Path, cache: Path) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only, and this test runs in another one")
    start(request(), out=tmp_path / "whole")
    shutil.rmtree(cache / "dense")
    with pytest.raises(Interrupted) as caught:
        start(request(), out=tmp_path / "run", observers=[SignalAt(2, pause=0.5)])
    assert caught.value.exit_status == 143
    assert any((tmp_path / "run" / "checkpoints").glob("*.partial.safetensors"))
    report = resume(tmp_path / "run")
    assert_same(tmp_path / "whole", tmp_path / "run")
    assert epochs_of(tmp_path / "run") == epochs_of(tmp_path / "whole")
    phases = report["seconds"]["phases"]
    assert phases["pretrain"] >= phases["pretrain/train"] >= 0.5  # both lives
    assert report["seconds"]["total"] >= sum(taken for phase, taken in phases.items() if "/" not in phase)


def epochs_of(directory: Path) -> list[dict[str, Any]]:
    """Return the epochs' records but for the time they took."""
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def test_a_signal_at_the_last_step_ends_the_evaluation_and_keeps_the_rest(tmp_path: Path) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only, and this test runs in another one")
    whole = start(request(eval="quick"), out=tmp_path / "whole")
    shutil.rmtree(tmp_path / "home" / "dense")
    with pytest.raises(Interrupted):
        start(request(eval="quick"), out=tmp_path / "run", observers=[SignalAt(18)])
    assert (tmp_path / "run" / "checkpoints" / "finetune.safetensors").exists()
    report = resume(tmp_path / "run")
    assert_same(tmp_path / "whole", tmp_path / "run")
    for network in ("dense", "pruned"):
        for accuracy in ("clean_accuracy", "robust_accuracy"):
            assert report["results"][network][accuracy] == whole["results"][network][accuracy]


def test_a_finished_run_resumes_to_its_report(tmp_path: Path) -> None:
    report = start(request("magnitude", set=without_prune()), out=tmp_path / "run")
    assert resume(tmp_path / "run") == report


def without_prune() -> dict[str, Any]:
    return {name: value for name, value in HYDRA.items() if not name.startswith("prune.")}


def test_methods_share_one_pretraining(tmp_path: Path, cache: Path) -> None:
    start(request("hydra"), out=tmp_path / "a")
    report = start(request("magnitude", set=without_prune()), out=tmp_path / "b")
    assert report["dense_origin"] == "from the cache"
    assert len(list((cache / "dense").iterdir())) == 1


def test_two_runs_may_cache_the_same_model_at_once(cache: Path) -> None:
    state = {"w": torch.arange(4.0)}
    writers = [threading.Thread(target=store_dense, args=("key", state, {})) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    loaded = load_dense("key")
    assert loaded is not None
    assert torch.equal(loaded["w"], state["w"])
    assert [path.name for path in (cache / "dense").iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "hydr"}, "hydra"),
        ({"method": "bnap", "set": {}}, "entry-only"),
        ({"structure": "S", "locality": "G"}, "no implemented variant"),
        ({"set": {"finetun.lr": 1}}, "did you mean 'finetune'"),
        ({"set": {"finetune.lrr": 1}}, "finetune.lrr"),
        ({"set": {"finetune.lr": "fast"}}, "finetune.lr"),
        ({"set": {"prune.objective": "tradez"}}, "trades"),
        ({"sparsity": 1.5}, "out of range"),
        ({"preset": "fast"}, "paper, quick"),
        ({"dataset": "folder:/nowhere"}, "/nowhere"),
        ({"arch": "resnet19"}, "resnet18"),
        ({"from_checkpoint": "/nowhere.pt"}, "does not exist"),
        ({"epochs_scale": 0.0}, "not positive"),
        ({"epochs_scale": float("nan")}, "not positive"),
        ({"seed": -1}, "negative"),
        ({"eval": "full"}, "none, quick, standard"),
    ],
)
def test_mistakes_end_in_a_sentence_before_anything_is_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        start(request(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_directory_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="exists"):
        start(request(), out=tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_eight_bit_fractions_are_radii(tmp_path: Path) -> None:
    settings = {**HYDRA, "finetune.eps": "8/255"}
    start(request(set=settings), out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["finetune"]["eps"] == 8 / 255


def dense_checkpoint(path: Path, width: int = 2) -> Path:
    torch.manual_seed(3)
    network = build("cnn-small", num_classes=10, image_size=16, width=width)
    torch.save({"state_dict": network.state_dict()}, path)
    return path


def test_a_preset_may_differ_by_structure_then_by_dataset_each_with_or_without_arch() -> None:
    class Picky(AfterTraining):
        slug = "picky"
        presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
            "quick": {"sparsity": 0.1},
            "quick:vgg16": {"sparsity": 0.15},
            "quick:S": {"sparsity": 0.2},
            "quick:S:vgg16": {"sparsity": 0.25},
            "quick:svhn": {"sparsity": 0.3},
            "quick:svhn:vgg16": {"sparsity": 0.4},
        }

        def prune(self, model: MaskedModel, run: Run) -> Masks:
            raise NotImplementedError

    def sparsity(**choice: Any) -> float:
        return build_settings(Picky, Request("picky", **choice)).sparsity

    assert [sparsity(), sparsity(structure="US"), sparsity(structure="S")] == [0.1, 0.1, 0.2]
    assert [sparsity(arch="vgg16"), sparsity(structure="S", arch="vgg16")] == [0.15, 0.25]
    assert [sparsity(structure="S", dataset="svhn"), sparsity(dataset="svhn", arch="vgg16")] == [0.3, 0.4]
    filters = next(v for v in implemented_variants("magnitude") if v.granularity == "filters")
    assert build_settings(Picky, Request("picky"), filters).sparsity == 0.2


def test_a_run_starts_from_ones_own_checkpoint(tmp_path: Path) -> None:
    checkpoint = dense_checkpoint(tmp_path / "dense.pt")
    settings = {**without_prune(), "finetune.epochs": 0}
    report = start(request("magnitude", set=settings, from_checkpoint=str(checkpoint)), out=tmp_path / "run")
    given = torch.load(checkpoint, weights_only=True)["state_dict"]
    pruned = load_file(tmp_path / "run" / "model.safetensors")
    masks = load_file(tmp_path / "run" / "masks.safetensors")
    assert str(checkpoint) in report["dense_origin"]
    for name, tensor in given.items():
        assert torch.equal(pruned[name], tensor * masks[name] if name in masks else tensor)


def test_a_checkpoint_of_another_network_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    checkpoint = dense_checkpoint(tmp_path / "dense.pt", width=4)
    with pytest.raises(UserError, match="does not fit cnn-small"):
        start(request("magnitude", set=without_prune(), from_checkpoint=str(checkpoint)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"structure": "S"},
        {"budget": "fixed-nonuniform"},
        {"locality": "G"},
        {"schedule": "IT"},
        {"schedule": "IT", "locality": "G"},
    ],
)
def test_the_papers_command_runs_the_same_variant(wish: dict[str, str]) -> None:
    resolved = resolve(request("magnitude", **wish))
    _, _, method, *words = paper_command(resolved).split()
    options = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    options["sparsity"] = float(options["sparsity"])
    named = Request(method, **{name: value for name, value in options.items() if name != "eval"})
    assert choose_variant(entry(method).document, named) == resolved.variant
    assert options["preset"] == "paper"
