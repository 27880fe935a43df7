import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx_taxonomy import AXES, UnknownWordError, resolve, schema, survey_label

WORDS = [(axis.name, word) for axis in AXES.values() for word in axis.words]
RANDOM_CASE = st.integers(min_value=0).map(
    lambda bits: lambda s: "".join(letter.upper() if bits >> i & 1 else letter.lower() for i, letter in enumerate(s))
)


@pytest.mark.parametrize(
    ("axis", "spelling", "value"),
    [
        ("criterion", "least importance score", "LIS"),
        ("criterion", "Regularization-based LWM", "RELWM"),
        ("criterion", "spalwm", "RELWM"),
        ("stage", "After", "after"),
        ("stage", "before training", "before"),
        ("stage", "D", "during"),
        ("schedule", "one shot", "1S"),
        ("schedule", "ITERATIVE", "IT"),
        ("structure", "unstructured", "US"),
        ("locality", "Global", "G"),
        ("budget", "ERK", "fixed-nonuniform"),
        ("objective", "fgsm_rs", "fgsm-rs"),
        ("label", "adversarial training", "AT"),
        ("granularity", "filter", "filters"),
    ],
)
def test_spellings(axis, spelling, value):
    assert resolve(axis, spelling) == value


@given(st.sampled_from(WORDS), RANDOM_CASE, st.sampled_from(["", " ", "-", "_"]))
def test_every_spelling_of_every_word_resolves_in_any_case(named, recase, glue):
    axis, word = named
    for form in word.spellings:
        spelling = recase(form.replace(" ", glue or " ").replace("-", glue or "-"))
        assert resolve(axis, spelling) == word.value


@given(st.sampled_from(list(AXES)), st.text())
def test_any_text_is_either_a_value_or_refused_with_the_allowed_ones(axis, text):
    values = AXES[axis].values
    try:
        outcome: str | UnknownWordError = resolve(axis, text)
    except UnknownWordError as error:
        outcome = error
    if isinstance(outcome, str):
        assert outcome in values
    else:
        assert outcome.allowed == values
        assert outcome.nearest is None or outcome.nearest in values
        assert all(value in str(outcome) for value in values)


def test_the_nearest_word_is_offered():
    with pytest.raises(UnknownWordError) as caught:
        resolve("criterion", "least importence score")
    assert caught.value.nearest == "LIS"
    assert "did you mean 'LIS'?" in str(caught.value)


def test_the_sentence_has_the_article_of_its_axis():
    with pytest.raises(UnknownWordError, match="'none' is not a budget: use one of"):
        resolve("budget", "none")
    with pytest.raises(UnknownWordError, match="'none' is not an objective: use one of"):
        resolve("objective", "none")


def test_no_two_words_of_an_axis_share_a_spelling():
    for axis in AXES.values():
        forms = [form.casefold() for word in axis.words for form in {s.casefold() for s in word.spellings}]
        assert len(forms) == len(set(forms)), axis.name


def test_survey_labels_of_objectives():
    assert survey_label("trades") == survey_label("fgsm-rs") == "AT"
    assert survey_label("nat") == "NT"
    assert survey_label("kd") == "KD"
    assert survey_label("crown-ibp") is None


def test_the_entry_schema_and_the_vocabulary_have_the_same_words():
    defs = schema("entry")["$defs"]
    for axis in ("stage", "schedule", "structure", "granularity", "locality", "criterion"):
        assert tuple(defs[axis]["enum"]) == AXES[axis].values
    assert tuple(defs["variant"]["properties"]["budget"]["enum"]) == AXES["budget"].values
    assert tuple(defs["labels"]["items"]["enum"]) == AXES["label"].values
    assert tuple(schema("entry")["properties"]["origin"]["enum"]) == AXES["origin"].values
