import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx_taxonomy import ModelKey, ModelKeyError, survey_methods, zoo_entries
from apx_taxonomy.model_key import ARCHS, DATASETS, NETWORKS, SPARSITIES

letters = st.text(st.sampled_from("aBcXyzÖéß"), min_size=1, max_size=8)
names = st.text(st.sampled_from("aBcXyzÖé0189"), min_size=1, max_size=12)
references = st.builds("{}{:04d}{}".format, letters, st.integers(0, 9999), letters)
structured = st.sampled_from([(structure, percent) for structure, allowed in SPARSITIES.items() for percent in allowed])


@st.composite
def keys(draw: st.DrawFn) -> ModelKey:
    structure, percent = draw(structured)
    arch, dataset = draw(st.sampled_from(list(ARCHS))), draw(st.sampled_from(list(DATASETS)))
    return ModelKey(draw(names), draw(references), arch, dataset, structure, percent)


@given(keys())
def test_parsing_undoes_formatting_exactly(key):
    assert ModelKey.parse(str(key)) == key
    assert str(ModelKey.parse(str(key))) == str(key)
    assert str(key).startswith(key.ap_key + "_")


@given(st.text(max_size=60))
def test_any_text_is_a_key_that_is_written_back_or_refused(text):
    try:
        written = str(ModelKey.parse(text))
    except ModelKeyError:
        return
    assert written == unicodedata.normalize("NFC", text.strip())


def test_the_154_keys_round_trip():
    for entry in zoo_entries():
        assert ModelKey.parse(str(entry.key)) == entry.key


def test_a_key_has_its_parts():
    key = ModelKey.parse("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90")
    assert key == ModelKey("HYDRA", "Sehwag2020Hydra", "R18", "CIFAR10", "US", 90)
    assert key.ap_key == "HYDRA_Sehwag2020Hydra"
    assert key.networks == NETWORKS["R18"]


def test_a_composed_and_a_decomposed_letter_are_one():
    text = "BCSP_Özdenizc2021Training_V16_SVHN_S_75"
    assert ModelKey.parse(unicodedata.normalize("NFD", text)) == ModelKey.parse(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "has 1 pieces between underscores, a model key has 6"),
        ("H", "Name_AuthorYearWord_ARCH_DATASET_STRUCTURE_SPARSITY"),
        ("HYDRA_Sehwag2020Hydra", "has 2 pieces"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90_90", "has 7 pieces"),
        ("HYDRA_Sehwag2020Hydra_R50_CIFAR10_US_90", "'R50' is not an architecture of model keys"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR100_US_90", "did you mean 'CIFAR10'? allowed: CIFAR10, SVHN"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_U_90", "'U' is not a structure of model keys"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_50", "50 is no sparsity of US (unstructured) keys: use one of 90, 95"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_S_99", "99 is no sparsity of S (structured) keys: use one of 50, 75, 90"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_090", "'090'"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_٩٠", "is no percentage"),
        ("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_", "is no percentage"),
        ("HYDRA_Sehwag_R18_CIFAR10_US_90", "'Sehwag' should be first author, year and a word of the title"),
        ("HY-DRA_Sehwag2020Hydra_R18_CIFAR10_US_90", "'HY-DRA' is no name of a method"),
    ],
)
def test_a_wrong_piece_is_named_with_what_is_allowed(text, wanted):
    with pytest.raises(ModelKeyError) as raised:
        ModelKey.parse(text)
    assert wanted in str(raised.value)


PARTS = {"arch": "resnet18", "dataset": "cifar10", "structure": "weights", "sparsity": 90}


def test_a_key_is_made_from_parts_in_any_spelling():
    wanted = ModelKey.parse("HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90")
    for method in ("hydra", "HYDRA", "HYDRA_Sehwag2020Hydra"):
        assert ModelKey.of(method=method, **PARTS) == wanted
    assert ModelKey.of(method="hydra", arch="R18", dataset="CIFAR10", structure="US", sparsity=0.9) == wanted
    assert ModelKey.of(method="hydra", arch="preact_resnet18", dataset="Cifar10", structure="us", sparsity=90.0) == (
        wanted
    )
    filters = {"arch": "vgg16_bn_linear", "dataset": "svhn", "structure": "filters", "sparsity": 0.75}
    assert str(ModelKey.of(method="rfp", **filters)) == "RSR_Lim2021Robustness_V16_SVHN_S_75"


@pytest.mark.parametrize("method", survey_methods(), ids=lambda method: method.slug)
def test_every_method_of_the_survey_has_keys_also_without_a_checkpoint(method):
    assert ModelKey.of(method=method.slug, **PARTS).ap_key == method.ap_key


def test_a_new_method_has_keys_too():
    assert str(ModelKey.of(method="Mine_Doe2026Better", **PARTS)) == "Mine_Doe2026Better_R18_CIFAR10_US_90"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"method": "hydr"}, "'hydr' is no method of the survey, did you mean 'hydra'?"),
        ({"method": ""}, "is no method of the survey"),
        ({"method": "H"}, "is no method of the survey"),
        ({"arch": "resnet50"}, "allowed: R18, V16"),
        ({"dataset": "cifar100"}, "allowed: CIFAR10, SVHN"),
        ({"structure": "layers"}, "allowed: US, S"),
        ({"sparsity": 50}, "use one of 90, 95, 99"),
        ({"sparsity": 0.905}, "whole percent"),
        ({"structure": "channels", "sparsity": 99}, "use one of 50, 75, 90"),
    ],
)
def test_a_wrong_part_is_refused(changes, wanted):
    with pytest.raises(ModelKeyError) as raised:
        ModelKey.of(**{"method": "hydra", **PARTS, **changes})
    assert wanted in str(raised.value)
