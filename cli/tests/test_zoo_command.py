"""apx zoo: what it lists, how it loads and verifies, and keys in place of files."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gdown
import pytest
import torch
from click.testing import Result

from apx.architectures import build
from apx.masks import weight_names
from apx.zoo import publish

Apx = Callable[..., Result]
KEY = "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    module = build("resnet18", num_classes=10)
    with torch.no_grad():
        for name in weight_names(module):
            weight = module.get_parameter(name)
            weight.view(-1)[: round(0.9 * weight.numel())] = 0
    folder = tmp_path_factory.mktemp("zoo")
    publish(folder, KEY, module, "resnet18", distances=[0.5, float("inf"), 0.0])
    return folder


def test_list_shows_every_key_with_what_was_published(apx: Apx) -> None:
    lines = apx("zoo", "list").stdout.splitlines()
    assert lines[-1] == "154 keys"
    assert sum("only a printed number" in line for line in lines) == 70
    (row,) = [line for line in lines if line.startswith(KEY)]
    assert row.split() == [KEY, "hydra", "checkpoint", "yes"]


def test_list_is_filtered_by_words_in_any_spelling(apx: Apx) -> None:
    chosen = ["--method", "HARP", "--arch", "vgg16", "--dataset", "cifar10", "--structure", "filters", "--available"]
    listed = json.loads(apx("zoo", "list", *chosen, "--sparsity", "0.5", "--sparsity", "90", "--json").stdout)
    assert [entry["key"] for entry in listed] == [
        "HARP_Zhao2023Holistic_V16_CIFAR10_S_50",
        "HARP_Zhao2023Holistic_V16_CIFAR10_S_90",
    ]
    assert listed[0]["checkpoints"][0]["extension"] == ".pth.tar"
    assert "no key is all of that" in apx("zoo", "list", "--dataset", "svhn", "--available").stderr


def test_a_folder_is_listed_by_its_records(apx: Apx, zoo: Path) -> None:
    shown = apx("zoo", "list", "--zoo", str(zoo), "--method", "hydra", "--sparsity", "0.9")
    assert KEY in shown.stdout
    assert shown.stdout.endswith("1 networks\n")
    (record,) = json.loads(apx("zoo", "list", "--zoo", str(zoo), "--json").stdout)
    assert (record["key"], record["arch"]) == (KEY, "resnet18")
    assert apx("zoo", "list", "--zoo", str(zoo), "--dataset", "svhn").stdout.endswith("0 networks\n")
    assert "cannot be listed: give a folder" in apx("zoo", "list", "--zoo", "drive").stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["list", "--method", "hidra"], "unknown method of the survey 'hidra', did you mean 'hydra'?"),
        (["list", "--arch", "resnet50"], "'resnet50' is not an architecture of model keys"),
        (["info", "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_50"], "use one of 90, 95, 99 percent"),
        (["info", "HYDRA"], "a model key has 6"),
        (["load", KEY, "--file", "nowhere.pt"], "there is no checkpoint nowhere.pt"),
        (["load", KEY, "--out", "x.pt"], "--out x.pt should end in .safetensors"),
        (["load", KEY, "--zoo", "nowhere"], "there is no folder nowhere for --zoo"),
        (["download", "HYDRA_Sehwag2020Hydra_R18_SVHN_US_90"], "only its number on a leaderboard"),
        (["verify", "--zoo", "nowhere"], "there is no folder nowhere"),
        (["verify", "--zoo", "hf:some/zoo"], "leave --zoo out"),
    ],
)
def test_a_mistake_is_one_line(apx: Apx, words: list[str], why: str) -> None:
    result = apx("zoo", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_info_shows_files_numbers_and_remarks(apx: Apx) -> None:
    shown = apx("zoo", "info", KEY).stdout
    for wanted in ("drive.google.com", "resnet18 or preact_resnet18", "clean 76.74%, robust 43.34%", "twice"):
        assert wanted in shown
    document = json.loads(apx("zoo", "info", "RADMM_Ye2019Sparsity_R18_CIFAR10_US_90", "--json").stdout)
    assert document["key"] == "RADMM_Ye2019Adversarial_R18_CIFAR10_US_90"
    assert document["kept"] == []


def test_download_offline_says_so_in_one_line(apx: Apx, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(**options: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(gdown, "download", download)
    monkeypatch.setattr("apx.zoo.Source.waits", ())
    result = apx("zoo", "download", "MAD_Lee2022Masking_R18_CIFAR10_US_90")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "connect to the internet and try again" in result.stderr
    assert "apx zoo load MAD_Lee2022Masking_R18_CIFAR10_US_90 --file PATH" in result.stderr


def test_a_downloaded_file_is_listed_and_verified(apx: Apx, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*, output: str, **options: object) -> None:
        torch.save({"state_dict": {"weight": torch.ones(2)}}, output)

    monkeypatch.setattr(gdown, "download", download)
    key = "MAD_Lee2022Masking_R18_CIFAR10_US_90"
    (path,) = json.loads(apx("zoo", "download", key, "--json").stdout)[key]
    assert path.endswith(f"{key}.t7")
    assert [one["path"] for one in json.loads(apx("zoo", "info", key, "--json").stdout)["kept"]] == [path]
    assert "1 of 1 files are as they should be" in apx("zoo", "verify").stdout
    Path(path).write_bytes(b"changed")
    result = apx("zoo", "verify", "--json")
    assert result.exit_code == 1
    assert "another SHA-256" in json.loads(result.stdout)[0]["fault"]
    assert apx("cache", "clear", "zoo", "--yes").exit_code == 0
    assert json.loads(apx("zoo", "verify", "--json").stdout) == []


def test_load_tells_what_it_found_and_writes_it(apx: Apx, zoo: Path) -> None:
    result = apx("zoo", "load", KEY, "--zoo", str(zoo), "--out", "hydra.safetensors")
    assert result.exit_code == 0, result.stderr
    for wanted in ("resnet18", "90.00% of all convolution and linear weights", "wrote hydra.safetensors"):
        assert wanted in result.stdout
    again = json.loads(apx("zoo", "load", KEY, "--file", "hydra.safetensors", "--json").stdout)
    assert (again["arch"], again["method"], again["dataset"]) == ("resnet18", "hydra", "cifar10")
    assert again["sparsity"] == pytest.approx(0.9, abs=1e-4)
    wrong = apx("zoo", "load", KEY.replace("90", "99"), "--file", "hydra.safetensors")
    assert wrong.exit_code == 2
    assert "with 90.0% of its weights zero" in wrong.stderr


def test_distances_are_loaded_and_written(apx: Apx, zoo: Path) -> None:
    assert "0 may mean misclassified" in apx("zoo", "load", KEY, "--distances", "--zoo", str(zoo)).stdout
    Path("d.pickle").write_bytes(pickle.dumps([torch.tensor(0.25), torch.tensor(float("inf"))]))
    words = ("zoo", "load", KEY, "--distances", "--json")
    loaded = json.loads(apx(*words, "--file", "d.pickle", "--out", "d.safetensors").stdout)
    assert loaded["distances"] == [0.25, "inf"]
    assert json.loads(apx(*words, "--file", "d.safetensors").stdout)["distances"] == loaded["distances"]


def test_verify_a_folder_zoo(apx: Apx, zoo: Path) -> None:
    assert "3 of 3 files are as they should be" in apx("zoo", "verify", "--zoo", str(zoo)).stdout


def test_a_key_is_evaluated(apx: Apx, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APX_ZOO", str(zoo))
    Path("colours.py").write_text(
        "import torch\nfrom apx.datasets import from_loaders\n"
        "def make():\n"
        "    pair = (torch.arange(6144).view(2, 3, 32, 32).remainder(256).to(torch.uint8), torch.tensor([0, 9]))\n"
        "    return from_loaders(pair, pair, pair, num_classes=10)\n"
    )
    words = (
        "--dataset",
        "py:colours:make",
        "--attack",
        "fgsm",
        "--n",
        "2",
        "--device",
        "cpu",
        "--no-prepare",
        "--json",
    )
    result = apx("evaluate", KEY, *words)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["target"], document["method"], document["arch"]) == (KEY, "hydra", "resnet18")
    assert document["sparsity"]["requested"] == 0.9
    assert document["n"] == 2


def test_listing_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom apx_cli.commands.zoo import command\n"
        "command(['list', '--available'], standalone_mode=False)\nprint('\\n'.join(sys.modules))"
    )
    environment = {**os.environ, "APX_HOME": str(tmp_path)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert not {"torch", "numpy", "pydantic", "gdown"} & set(shown.stdout.split())
    assert "84 keys" in shown.stdout
