import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import apx_taxonomy
from apx_taxonomy import (
    ModelKey,
    ModelKeyError,
    leaderboard,
    leaderboard_names,
    read_key,
    select_zoo,
    survey_method,
    survey_methods,
    validate,
    zoo_entries,
    zoo_entry,
)
from apx_taxonomy.model_key import ARCHS, DATASETS

INDEX = Path(apx_taxonomy.__file__).parent / "data" / "model_files.json"
ENTRIES = sorted((Path(__file__).parents[2] / "plugins").glob("*/src/*/taxonomy.json"))
R18_90, V16_99 = "HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90", "HYDRA_Sehwag2020Hydra_V16_CIFAR10_US_99"


def test_the_index_is_valid():
    assert [str(problem) for problem in validate(json.loads(INDEX.read_text(encoding="utf-8")), "zoo")] == []


def test_154_keys_have_a_stated_status():
    entries = zoo_entries()
    assert len({entry.key for entry in entries}) == len(entries) == 154
    # 83 are listed with a checkpoint; one more may be one of the two that HYDRA R18 US 90 is listed with
    counted = Counter(entry.status for entry in entries)
    assert counted == {"checkpoint": 84, "only a printed number": 70}
    assert sum(entry.distances is not None for entry in entries) == 48
    assert all(entry.remarks for entry in entries if entry.status != "checkpoint")


def test_a_key_per_printed_number():
    printed = {
        (row["key"], cell["arch"], board["dataset"], board["structure"], cell["sparsity"])
        for board in map(leaderboard, leaderboard_names())
        for row in board["rows"]
        for cell in row["cells"]
        if cell["robust"] is not None
    }
    keys = {
        (entry.key.ap_key, ARCHS[entry.key.arch], DATASETS[entry.key.dataset], entry.key.structure, entry.key.sparsity)
        for entry in zoo_entries()
        if entry.printed
    }
    assert keys == printed


def test_only_the_two_confused_keys_share_files():
    shared = Counter(file.id for entry in zoo_entries() for file in entry.checkpoints)
    twice = {name for name, count in shared.items() if count > 1}
    first, second = zoo_entry(R18_90), zoo_entry(V16_99)
    assert {file.id for file in first.checkpoints} == {file.id for file in second.checkpoints} == twice
    assert [file.id for file in first.checkpoints] == [file.id for file in reversed(second.checkpoints)]
    assert R18_90 in second.remarks[0]
    assert V16_99 in first.remarks[0]


def test_the_misspelt_keys_of_the_radmm_distances_are_read():
    entry = zoo_entry("RADMM_Ye2019Sparsity_V16_CIFAR10_S_75")
    assert str(entry.key) == "RADMM_Ye2019Adversarial_V16_CIFAR10_S_75"
    assert entry.distances is not None
    assert "RADMM_Ye2019Sparsity_V16_CIFAR10_S_75" in entry.remarks[0]
    assert sum("misspelt" in remark for entry in zoo_entries() for remark in entry.remarks) == 12


def test_extensions_are_the_benchmarks():
    models = Counter(file.extension for entry in zoo_entries() for file in entry.checkpoints[:1])
    assert set(models) == {".pt", ".pth.tar", ".t7", ".pth", ".tar"}
    assert {entry.distances.extension for entry in zoo_entries() if entry.distances} == {".pickle"}


@pytest.mark.parametrize(
    ("spelling", "slug"),
    [
        ("hydra", "hydra"),
        ("RSR_Lim2021Robustness", "rfp"),
        ("RFP", "rfp"),
        ("RSR_Rakin2019Robust", "rsr"),
        ("RSR", "rsr"),
        ("BCSP_Özdenizc2021Training", "bcs-p"),
        ("BCSP_Ozdenizci2021Training", "bcs-p"),
        ("Deadwooding_Kaur2022Deadwooding", "deadwooding"),
        ("SRGKP", "sr-gkp"),
        ("SR-GKP", "sr-gkp"),
        ("RADMM_Ye2019Sparsity", "radmm"),
    ],
)
def test_methods_answer_to_the_spellings_in_use(spelling, slug):
    found = survey_method(spelling)
    assert found is not None
    assert found.slug == slug


def test_the_methods_are_the_plugins():
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in ENTRIES]
    if not entries:
        pytest.skip("the plugins are not beside this package")
    ours = {(one["key"], one["slug"]) for one in entries if one["origin"] == "survey"}
    assert {(one.ap_key, one.slug) for one in survey_methods()} == ours
    spellings = [word.casefold() for one in survey_methods() for word in one.spellings]
    assert len(set(spellings)) == len(spellings)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_91", "use one of 90, 95, 99 percent"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US90", f"did you mean {R18_90}?"),
        ("HYDRA_Sehwag2020Hydro_R18_CIFAR10_US_90", "is no method of the survey, did you mean 'HYDRA_Sehwag2020Hydra'"),
        ("MAD_Lee2022Masking_R18_CIFAR10_S_90", "the benchmark has no MAD_Lee2022Masking_R18_CIFAR10_S_90"),
        ("AWT_Shi2022Finding_R18_CIFAR10_US_90", "the benchmark has no"),
        ("base_resnet18", "has 2 pieces"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(text, wanted):
    with pytest.raises(ModelKeyError) as raised:
        zoo_entry(text)
    assert wanted in str(raised.value)


def test_reading_a_key_takes_any_case_of_the_method():
    assert str(read_key("hydra_sehwag2020hydra_R18_CIFAR10_US_90")) == R18_90
    assert read_key("Mine_Doe2026Better_R18_SVHN_S_50") == ModelKey.parse("Mine_Doe2026Better_R18_SVHN_S_50")


def test_entries_are_chosen_by_any_part():
    assert len(select_zoo()) == 154
    assert len(select_zoo(available=True)) == 84
    assert {entry.slug for entry in select_zoo(structure=["S"], dataset=["CIFAR10"])} == {
        "radmm",
        "harp",
        "pwoa",
        "twinrep",
    }
    chosen = select_zoo(method=["harp", "mad"], arch=["V16"], sparsity=[95], available=True)
    assert [str(entry.key) for entry in chosen] == [
        "HARP_Zhao2023Holistic_V16_CIFAR10_US_95",
        "MAD_Lee2022Masking_V16_CIFAR10_US_95",
    ]


def test_an_entry_as_json():
    document = zoo_entry(R18_90).as_dict()
    assert json.loads(json.dumps(document)) == document
    assert (document["method"], document["dataset"], document["status"]) == ("hydra", "cifar10", "checkpoint")
    assert document["checkpoints"][0]["url"].startswith("https://drive.google.com/")


def test_the_index_imports_nothing_heavy():
    code = "import sys, apx_taxonomy as t; t.zoo_entries(); print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "jsonschema", "pydantic"} & set(loaded)
