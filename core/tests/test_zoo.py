"""The zoo: downloads that are never half taken, keys that must fit what they name, distances that run nothing."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gdown
import numpy as np
import pytest
import requests
import torch
from torch import nn

from apx.architectures import Normalisation, build, normalisation_of
from apx.errors import UserError
from apx.export import export_state
from apx.masks import weight_names
from apx.target import Made, open_target
from apx.zoo import (
    DriveSource,
    FolderSource,
    RefusedError,
    Source,
    UnreachableError,
    kept_files,
    load_distances,
    load_model,
    looks_like_key,
    obtain,
    open_model,
    publish,
    read_key,
    source_of,
    verify,
)
from apx.zoo.model import check_network

R18_90, V16_99 = "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90", "HYDRA_Sehwag2020Hydra_V16_CIFAR10_US_99"
TWIN = "TwinRep_Li2023Learning_R18_CIFAR10_US_90"
X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
STATISTICS = Normalisation((0.25, 0.5, 0.75), (0.5, 0.25, 0.125))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def pruned(arch: str, share: float, normalisation: Normalisation | None = None) -> nn.Module:
    torch.manual_seed(0)
    module = build(arch, num_classes=10, normalisation=normalisation).eval()
    with torch.no_grad():
        for name in weight_names(module):
            weight = module.get_parameter(name)
            weight.view(-1)[: round(share * weight.numel())] = 0
    return module


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return pruned("resnet18", 0.9, STATISTICS)


@pytest.fixture(scope="module")
def zoo(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    publish(folder, R18_90, network, "resnet18", distances=[0.5, float("inf"), 0.0], notes=["made by a test"])
    return folder


def torch_file(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


SMALL = torch_file({"state_dict": {"weight": torch.arange(4.0)}})
OLD = torch_file({"weight": torch.arange(4.0)}, zipped=False)


class Answers:
    """A transport that gives its answers in turn: content to write, or an error to raise."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.left = list(answers)
        self.calls: list[str] = []

    def __call__(self, place: str, target: Path, report: Callable[[int, int | None], None]) -> None:
        self.calls.append(place)
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            target.with_suffix(".part").write_bytes(b"the first half")
            raise answer
        target.write_bytes(answer)
        report(len(answer), len(answer))


def drive(*answers: bytes | Exception) -> tuple[DriveSource, Answers]:
    transport = Answers(*answers)
    source = DriveSource(transport)
    source.waits = (0, 0)
    return source, transport


def fetched(source: Source, key: str = TWIN, *, again: bool = False) -> Path:
    (offer,) = source.offers(read_key(key), "checkpoint")
    return obtain(source, offer, again=again)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# downloads


def test_a_file_is_downloaded_once_and_remembered(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, transport = drive(SMALL)
    path = fetched(source)
    assert path.read_bytes() == SMALL
    assert path.is_relative_to(home / "zoo")
    assert fetched(source) == path
    assert len(transport.calls) == 1
    (kept,) = kept_files()
    assert (kept.path, kept.key, kept.source, kept.bytes) == (path, TWIN, "Google Drive", len(SMALL))
    printed = capsys.readouterr()
    assert TWIN in printed.err
    assert printed.out == ""


QUOTA = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (QUOTA, "the file is a web page"),
        (b"", "the file is empty"),
        (SMALL[: len(SMALL) // 2], "is damaged or cut off"),
        (OLD[: len(OLD) - 3], "is damaged or cut off"),
        (OLD[: len(OLD) // 2], "is damaged or cut off"),
        (pickle.dumps({"weight": 1.0}), "refused to load the file|is damaged"),
        (b"plain text", "neither safetensors nor written by torch.save"),
        (torch_file({"x": Evil("never")}), "refused to load the file"),
        (pickle.dumps(Evil("never")), "refused to load the file"),
    ],
    ids=[
        "quota page",
        "empty",
        "cut off",
        "old format cut off",
        "old format halved",
        "no torch file",
        "text",
        "torch file that runs code",
        "pickle that does",
    ],
)
def test_what_is_no_checkpoint_is_never_kept(home: Path, content: bytes, why: str) -> None:
    source, _ = drive(content)
    with pytest.raises(UserError, match=why) as raised:
        fetched(source)
    assert f"apx zoo load {TWIN} --file PATH" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert files_in(home) == []
    assert not Path("never").exists()
    assert list((home / "zoo" / "drive").iterdir()) == []


def test_a_download_that_breaks_off_is_tried_again() -> None:
    source, transport = drive(UnreachableError("reset"), UnreachableError("reset"), SMALL)
    assert fetched(source).read_bytes() == SMALL
    assert len(transport.calls) == 3


def test_offline_says_so_and_what_to_do(home: Path) -> None:
    source, transport = drive(*[UnreachableError("no route to host")] * 3)
    with pytest.raises(UserError, match=r"could not be fetched from Google Drive \(no route to host\)") as raised:
        fetched(source)
    for wanted in ("connect to the internet", "https://drive.google.com/uc?id=", f"apx zoo load {TWIN} --file PATH"):
        assert wanted in str(raised.value)
    assert len(transport.calls) == 3
    assert files_in(home) == []


def test_a_refused_download_is_not_tried_again(home: Path) -> None:
    source, transport = drive(RefusedError("quota"))
    with pytest.raises(UserError, match="does not hand out"):
        fetched(source)
    assert len(transport.calls) == 1
    assert files_in(home) == []


def test_a_kill_between_download_and_rename_leaves_no_checkpoint(home: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(SMALL)
    code = (
        "import os, shutil, sys; from apx.zoo import DriveSource, obtain, read_key\n"
        "def die(place, target, report): shutil.copy(sys.argv[1], target); os._exit(9)\n"
        "source = DriveSource(die)\n"
        "obtain(source, source.offers(read_key(sys.argv[2]), 'checkpoint')[0])"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "whole"), TWIN], capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    assert len(files_in(home)) == 1  # what the kill left, under a name that nobody takes for a checkpoint
    assert list(kept_files()) == []
    source, transport = drive(SMALL)
    assert fetched(source).read_bytes() == SMALL
    assert len(transport.calls) == 1


def test_what_kills_left_is_thrown_away_once_it_is_old(home: Path) -> None:
    left = home / "zoo" / "drive" / ".download-old"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    fetched(drive(SMALL)[0])
    assert not left.exists()


def test_a_changed_file_is_refused_until_it_is_fetched_again() -> None:
    source, transport = drive(SMALL, SMALL)
    path = fetched(source)
    assert [verdict.fault for verdict in verify()] == [None]
    path.write_bytes(torch_file({"state_dict": {"weight": torch.zeros(4)}}))
    with pytest.raises(UserError, match=f"another SHA-256.*apx zoo download {TWIN} --force"):
        fetched(source)
    (verdict,) = verify([TWIN])
    assert "another SHA-256" in (verdict.fault or "")
    assert verify([R18_90]) == []
    assert fetched(source, again=True).read_bytes() == SMALL
    assert [verdict.fault for verdict in verify()] == [None]
    assert len(transport.calls) == 2


def test_gdown_s_errors_are_sorted_into_quota_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: Exception) -> Callable[..., None]:
        def download(**options: object) -> None:
            assert options["id"]
            raise error

        return download

    source = DriveSource()
    source.waits = ()
    for error, words in (
        (gdown.FileURLRetrievalError("many accesses"), "too many have downloaded it today"),
        (gdown.DownloadError("incomplete"), "could not be fetched"),
        (OSError("no space"), r"could not be fetched from Google Drive \(no space\)"),
        (requests.ConnectionError("HTTPSConnectionPool(...)"), r"\(no connection to drive.google.com\)"),
        (requests.ReadTimeout("..."), r"\(no answer within 60 s\)"),
    ):
        monkeypatch.setattr(gdown, "download", raising(error))
        with pytest.raises(UserError, match=words):
            fetched(source)


def answering(body: bytes, headers: dict[str, str]) -> Callable[..., requests.Response]:
    def get(session: requests.Session, url: str, **options: object) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url, response.raw = 200, url, io.BytesIO(body)
        response.headers.update(headers)
        return response

    return get


def test_gdown_itself_in_front_of_a_false_drive(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DriveSource()
    source.waits = (0,)
    monkeypatch.setattr(requests.Session, "get", answering(QUOTA, {"Content-Type": "text/html"}))
    with pytest.raises(UserError, match="too many have downloaded it today"):
        fetched(source)
    file = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="another name.pt"',
        "Content-Length": str(len(SMALL)),
    }
    monkeypatch.setattr(requests.Session, "get", answering(SMALL[:-9], file))
    with pytest.raises(UserError, match="could not be fetched"):
        fetched(source)
    assert files_in(home) == []
    monkeypatch.setattr(requests.Session, "get", answering(SMALL, file))
    path = fetched(source)
    assert (path.name, path.read_bytes()) == (f"{TWIN}.pt", SMALL)


# keys


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_50", "use one of 90, 95, 99 percent"),
        ("HYDRA_Sehwag2020Hydra_R18_SVHN_US_90", "no checkpoint of .* was published, only its number on a leaderboard"),
        ("HYDRA_Sehwag2020Hydro_R18_CIFAR10_US_90", "did you mean 'HYDRA_Sehwag2020Hydra'"),
        ("hydra", "a model key has 6"),
    ],
)
def test_keys_without_a_checkpoint_are_refused(key: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        load_model(key, zoo=drive()[0])


def test_keys_without_distances_are_refused() -> None:
    with pytest.raises(UserError, match=r"no distances of .* was published, only its checkpoint"):
        load_distances("MAD_Lee2022Masking_R18_CIFAR10_US_90", zoo=drive()[0])


@pytest.mark.parametrize(
    "text", [R18_90, "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_91", "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US"]
)
def test_keys_are_told_from_files(text: str) -> None:
    assert looks_like_key(text)


@pytest.mark.parametrize(
    "text",
    ["runs/hydra-resnet18", "my-run_a_b_c_d_e", "model.safetensors", f"{R18_90}.safetensors", "a_b", f"./{R18_90}"],
)
def test_files_are_told_from_keys(text: str) -> None:
    assert not looks_like_key(text)


def test_the_two_confused_hydra_keys_take_the_file_that_fits(network: nn.Module, tmp_path: Path) -> None:
    export_state(tmp_path / "r18", network, metadata={"arch": "resnet18"})
    export_state(tmp_path / "v16", pruned("vgg16", 0.99), metadata={"arch": "vgg16"})
    r18, v16 = (tmp_path / "r18").read_bytes(), (tmp_path / "v16").read_bytes()
    source, transport = drive(v16, r18)  # the first id that is tried is the wrong one
    found = open_model(R18_90, zoo=source)
    assert (found.arch, round(found.sparsity, 3)) == ("resnet18", 0.9)
    found = open_model(V16_99, zoo=source)  # both files are here by now
    assert (found.arch, round(found.sparsity, 3)) == ("vgg16", 0.99)
    assert len(transport.calls) == 2


def test_a_wrong_file_is_never_silently_used(network: nn.Module, tmp_path: Path) -> None:
    export_state(tmp_path / "r18", network, metadata={"arch": "resnet18"})
    content = (tmp_path / "r18").read_bytes()
    with pytest.raises(UserError, match=f"none of the 2 files offered for {V16_99} is it.*resnet18 with 90.0%"):
        open_model(V16_99, zoo=drive(content, content)[0])


@pytest.mark.parametrize(
    ("key", "arch", "share", "fits"),
    [
        ("US_90", "resnet18", 0.9, True),
        ("US_90", "preact_resnet18", 0.9, True),
        ("US_90", "vgg16", 0.9, False),
        ("US_90", "resnet18", 0.0, False),
        ("US_90", "resnet18", 0.95, False),
        ("US_95", "resnet18", 0.9, False),
        ("US_99", "resnet18", 0.9895, True),
        ("US_99", "resnet18", 0.95, False),
        ("S_50", "resnet18", 0.5, True),
        ("S_50", "resnet18", 0.75, True),  # of the filters
        ("S_50", "resnet18", 0.9, False),
        ("S_90", "resnet18", 0.75, False),
    ],
)
def test_what_a_key_accepts(key: str, arch: str, share: float, fits: bool) -> None:
    wanted = read_key(f"Some_Author2020Word_R18_CIFAR10_{key}")
    module = pruned_layer(share)
    if fits:
        check_network(wanted, arch, module, "it")
        return
    with pytest.raises(UserError, match=f"it holds a {arch} with .* of its weights zero, which is not {wanted}"):
        check_network(wanted, arch, module, "it")


def pruned_layer(share: float, dense: int = 0) -> nn.Module:
    module = nn.Sequential(nn.Conv2d(10, 100, 1), nn.Linear(dense, 1) if dense else nn.Identity())
    with torch.no_grad():
        module[0].weight.view(-1)[: round(share * 1000)] = 0
    return module


def test_a_method_may_leave_linear_layers_dense() -> None:
    key = read_key("Some_Author2020Word_V16_CIFAR10_US_99")
    (note,) = check_network(key, "vgg16", pruned_layer(0.99, dense=50), "it")
    assert "of the convolutions' weights" in note


def test_other_zeros_are_taken_with_a_note_on_demand() -> None:
    key = read_key("Some_Author2020Word_V16_CIFAR10_US_99")
    with pytest.raises(UserError, match="--any-sparsity"):
        check_network(key, "vgg16", pruned_layer(0.5), "it")
    (note,) = check_network(key, "vgg16", pruned_layer(0.5), "it", any_sparsity=True)
    assert "50.0%" in note


# zoos of converted networks


def test_a_folder_zoo_gives_back_what_was_published(network: nn.Module, zoo: Path, home: Path) -> None:
    found = open_model(R18_90, zoo=zoo)
    assert not found.module.training
    assert torch.equal(found.module(X), network(X))
    assert normalisation_of(found.module) == found.normalisation == STATISTICS
    assert (found.arch, found.method, found.dataset) == ("resnet18", "hydra", "cifar10")
    assert "made by a test" in found.notes
    assert json.loads(json.dumps(found.as_dict()))["normalisation"]["mean"] == [0.25, 0.5, 0.75]
    assert np.array_equal(load_distances(R18_90, zoo=zoo), [0.5, np.inf, 0.0])
    assert files_in(home) == []  # nothing is copied
    assert [verdict.fault for verdict in verify(zoo=zoo)] == [None] * 3


def test_a_zoo_is_named_in_several_ways(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for spelling in (zoo, str(zoo), zoo.as_uri(), FolderSource(zoo)):
        found = source_of(spelling)
        assert isinstance(found, FolderSource)
        assert found.path == zoo
    assert isinstance(source_of(None), DriveSource)
    monkeypatch.setenv("APX_ZOO", str(zoo))
    assert isinstance(source_of(None), FolderSource)
    assert isinstance(source_of("drive"), DriveSource)
    assert source_of("hf:some/zoo@main").title == "the Hugging Face repository some/zoo"
    for wrong in (zoo / "nowhere", "hf:zoo", "hf:a/b/c", "https://example.org/zoo"):
        with pytest.raises(UserError, match="hf:owner/name"):
            source_of(wrong)


def test_a_folder_zoo_that_has_changed_is_refused(zoo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(zoo, other)
    (other / f"{R18_90}.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="not the one that its record names"):
        load_model(R18_90, zoo=other)
    (other / f"{R18_90}.distances.safetensors").unlink()
    with pytest.raises(UserError, match="has lost its file"):
        load_distances(R18_90, zoo=other)
    assert [verdict.fault for verdict in verify(zoo=other)] == [
        None,
        "it is not the one that its record names",
        "it is gone",
    ]
    (other / f"{R18_90}.json").write_text('{"schema_version": "1"}')
    with pytest.raises(UserError, match="is not valid: the document: 'arch' is missing"):
        load_model(R18_90, zoo=other)
    assert len([verdict for verdict in verify(zoo=other) if verdict.fault]) == 1
    with pytest.raises(UserError, match=f"has no {TWIN}"):
        load_model(TWIN, zoo=other)


def test_only_what_a_key_says_is_published_under_it(network: nn.Module, zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which is not TwinRep_Li2023Learning_R18_CIFAR10_US_99"):
        publish(tmp_path, "TwinRep_Li2023Learning_R18_CIFAR10_US_99", network, "resnet18")
    assert list(tmp_path.glob("*.safetensors")) == []
    with pytest.raises(UserError, match="already"):
        publish(zoo, R18_90, network, "resnet18")


# one's own file


def test_a_checkpoint_of_one_s_own_is_converted(network: nn.Module, tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "model_best.pth.tar")
    found = open_model(R18_90, file=tmp_path / "model_best.pth.tar")
    assert found.arch == "resnet18"
    assert found.sparsity == pytest.approx(0.9, abs=1e-4)
    assert torch.equal(found.module.state_dict()["conv1.weight"], network.state_dict()["conv1.weight"])
    with pytest.raises(UserError, match="there is no checkpoint"):
        load_model(R18_90, file=tmp_path / "nowhere")


def test_a_file_for_a_number_that_is_only_printed(network: nn.Module, tmp_path: Path) -> None:
    export_state(tmp_path / "mine.safetensors", network, metadata={"arch": "resnet18"})
    found = open_model("HYDRA_Sehwag2020Hydra_R18_SVHN_US_90", file=tmp_path / "mine.safetensors")
    assert (found.dataset, found.normalisation) == ("svhn", STATISTICS)


# distances


def test_the_benchmark_s_pickles_are_read(tmp_path: Path) -> None:
    written = [torch.tensor(0.25), torch.tensor(0.0), torch.rand(3)[1], torch.tensor(float("inf"), dtype=torch.float64)]
    (tmp_path / "d.pickle").write_bytes(pickle.dumps(written))
    read = load_distances(R18_90, file=tmp_path / "d.pickle")
    assert read.dtype == np.float64
    assert read.tolist() == [float(one) for one in written]
    source, transport = drive((tmp_path / "d.pickle").read_bytes())
    assert load_distances("RADMM_Ye2019Sparsity_R18_CIFAR10_US_90", zoo=source).tolist() == read.tolist()
    assert len(transport.calls) == 1


def in_a_storage(content: object) -> bytes:
    """A pickle with a torch file inside, as tensors are pickled; `content` is what that file holds."""
    inner = torch_file(content)

    class Storage:
        def __reduce__(self) -> tuple:
            return torch.storage._load_from_bytes, (inner,)

    return pickle.dumps([Storage()])


@pytest.mark.parametrize("content", ["reduce", "storage", "class"])
def test_a_malicious_pickle_is_refused_with_the_reason(tmp_path: Path, content: str) -> None:
    touched = tmp_path / "touched"
    written = {
        "reduce": pickle.dumps([Evil(str(touched))]),
        "storage": in_a_storage(Evil(str(touched))),
        "class": pickle.dumps([Path("x")]),
    }[content]
    (tmp_path / "d.pickle").write_bytes(written)
    with pytest.raises(UserError, match=r"refused to read .*: it asks for .*could run code"):
        load_distances(R18_90, file=tmp_path / "d.pickle")
    assert not touched.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (pickle.dumps([torch.tensor(0.5)])[:-40], "damaged or cut off"),
        (pickle.dumps({"a": 1.0}), "a list of numbers"),
        (pickle.dumps([]), "a list of numbers"),
        (pickle.dumps([torch.zeros(2)]), "a list of numbers"),
        (pickle.dumps(["0.5"]), "a list of numbers"),
        (b"<html>", "neither a pickled list nor safetensors"),
        (b"", "neither a pickled list nor safetensors"),
    ],
)
def test_what_is_no_list_of_numbers_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "d.pickle").write_bytes(content)
    with pytest.raises(UserError, match=why):
        load_distances(R18_90, file=tmp_path / "d.pickle")


# targets


def colours(data_dir: Path) -> object:
    from apx.datasets import from_loaders

    images, labels = (X * 255).to(torch.uint8), torch.tensor([0, 9])
    return from_loaders((images, labels), (images, labels), (images, labels), num_classes=10, name="colours")


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    module = type(sys)("two_colours")
    module.colours = colours  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "two_colours", module)
    return "py:two_colours:colours"


def test_a_key_is_a_target(network: nn.Module, zoo: Path, data: str, tmp_path: Path) -> None:
    opened = open_target(Path(R18_90), Made(dataset=data, zoo=str(zoo)))
    assert torch.allclose(opened.module(X), network(X), atol=1e-5)
    assert opened.facts["target"] == R18_90
    assert (opened.facts["method"], opened.facts["arch"], opened.facts["dataset"]) == ("hydra", "resnet18", data)
    assert opened.facts["sparsity"]["requested"] == 0.9
    assert opened.facts["sparsity"]["reported"] == pytest.approx(0.9, abs=1e-4)
    export_state(tmp_path / "again.safetensors", opened.module, metadata=opened.metadata())
    again = open_target(tmp_path / "again.safetensors")
    assert normalisation_of(again.module) == STATISTICS
    assert torch.allclose(again.module(X), network(X), atol=1e-5)
    assert again.facts["method"] == "hydra"


@pytest.mark.parametrize(
    ("target", "made", "why"),
    [
        (R18_90, {"width": 8}, "leave --width out"),
        (R18_90, {"arch": "vgg16"}, "is a resnet18, not a vgg16"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_91", {}, "no run directory or checkpoint .* use one of 90, 95, 99"),
        ("nowhere", {}, "no run directory or checkpoint nowhere, and it is no model key"),
    ],
)
def test_wrong_targets(target: str, made: dict, why: str, zoo: Path, data: str) -> None:
    with pytest.raises(UserError, match=why):
        open_target(Path(target), Made(dataset=data, zoo=str(zoo), **made))


def test_a_folder_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(R18_90).mkdir()
    with pytest.raises(UserError, match="is not a run directory"):
        open_target(Path(R18_90))


def test_the_zoo_is_listed_without_torch() -> None:
    code = "import sys, apx.zoo as z; z.source_of('drive'); z.read_key(sys.argv[1]); print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code, R18_90], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "pydantic", "gdown", "huggingface_hub"} & set(loaded.split())
