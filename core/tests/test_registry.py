"""The registry over real distribution metadata: broken plugins are named, the others go on."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from strangers import entry_document, on_path, write_distribution, write_metadata

from apx import registry
from apx.errors import UserError
from apx.registry import Query, select

Install = Callable[..., Path]

GOOD = """
from apx import hookimpl

@hookimpl
def apx_methods():
    from .method import Mine
    return [Mine]
"""
METHOD = """
from apx.method import AfterTraining

class Mine(AfterTraining):
    slug = "{slug}"

    def prune(self, model, run):
        raise NotImplementedError
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write distributions with real metadata into a folder on the path, as an installer would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))

    def make(
        name: str,
        *,
        document: Any = None,
        init: str = "",
        method: str = "",
        package: str | None = None,
        version: str = "1.0",
        value: str | None = None,
    ) -> Path:
        files = {"__init__.py": init} | ({"method.py": method} if method else {})
        module = package or f"plugin_{name.replace('-', '_')}"
        folder = write_distribution(site, name, files, entry=document, package=module, value=value, version=version)
        registry.refresh()
        return folder

    with on_path(site):
        yield make


def faults_of(distribution: str) -> list[registry.Failure]:
    return [failure for failure in registry.failures() if failure.distribution == distribution]


def slugs() -> list[str]:
    return [entry.slug for entry in registry.entries()]


def test_a_strangers_plugin_is_listed_without_being_imported(install: Install) -> None:
    install("stranger", document=entry_document("mine"), init="raise RuntimeError('imported')")
    found = registry.entry("mine")
    assert (found.distribution, found.version, found.origin) == ("stranger", "1.0", "other")
    assert (found.stage, found.criterion, found.schedules, found.localities) == ("after", "LIS", ("1S",), ("L",))
    assert found.objectives == ("trades", "pgd")
    assert found.survey is None
    assert found.implemented
    assert "plugin_stranger" not in sys.modules
    assert faults_of("stranger") == []


def test_hyperparameters_are_read_without_the_plugin_and_later_groups_win(install: Install) -> None:
    document = entry_document("mine")
    document["implements"]["hyperparameters"] = [
        {"source": "table 1", "settings": {"finetune.lr": 0.1, "pretrain.lr": 0.2, "rank": 3}},
        {"source": "table 2", "datasets": ["svhn"], "architectures": ["vgg16"], "settings": {"pretrain.lr": 0.3}},
        {"source": "the code", "settings": {"finetune.lr": 0.4, "finetune.eps": "8/255"}},
    ]
    install("stranger", document=document, init="raise RuntimeError('imported')")
    found = registry.entry("mine").hyperparameters
    assert [(one.setting, one.value, one.source, one.datasets + one.architectures) for one in found] == [
        ("rank", 3, "table 1", ()),
        ("finetune.lr", 0.4, "the code", ()),
        ("finetune.eps", "8/255", "the code", ()),
        ("pretrain.lr", 0.2, "table 1", ()),
        ("pretrain.lr", 0.3, "table 2", ("svhn", "vgg16")),
    ]
    assert registry.values_for(found, "svhn", "vgg16")["pretrain.lr"] == 0.3
    assert registry.values_for(found, "svhn", "resnet18")["pretrain.lr"] == 0.2
    assert registry.values_for(found, "cifar10", "vgg16")["pretrain.lr"] == 0.2


def test_a_strangers_method_loads_and_its_hooks_are_merged(install: Install) -> None:
    hooks = GOOD + "\n@hookimpl\ndef apx_datasets():\n    return {'blobs': lambda data_dir: None}\n"
    install("stranger", document=entry_document("mine"), init=hooks, method=METHOD.format(slug="mine"))
    assert registry.load_method("mine").__name__ == "Mine"
    assert {"blobs", "digits"} <= set(registry.datasets())
    assert faults_of("stranger") == []


@pytest.mark.parametrize(
    ("document", "pointer", "said"),
    [
        (entry_document("mine", origin="mine"), "/origin", '"baseline"'),
        (entry_document("Mine"), "/slug", "Mine"),
        (entry_document("mine", api="2", colour="red"), "/api", "written for version 2 of apx's plugin API"),
        (entry_document("mine", api=2), "/api", 'allowed: "1"'),
        (entry_document("mine", colour="red"), "/colour", "unknown field"),
        ({"slug": "mine"}, "", "'year' is missing"),
        ([], "", "object"),
        (b"{", None, "taxonomy.json cannot be read"),
        (b"\xff\xfe", None, "taxonomy.json cannot be read"),
        (b"[" * 100_000, None, "taxonomy.json cannot be read"),
        (None, None, "has no taxonomy.json"),
    ],
)
def test_a_bad_entry_is_named_and_the_others_go_on(
    install: Install, document: Any, pointer: str | None, said: str
) -> None:
    install("good", document=entry_document("good-one"))
    install("bad", document=document)
    faults = faults_of("bad")
    assert [fault.what for fault in faults] == ["entry"] * len(faults)
    assert any(fault.pointer == pointer and said in fault.message for fault in faults), faults
    assert "good-one" in slugs()
    assert faults_of("good") == []


def test_every_fault_of_an_entry_is_told_with_the_allowed_values(install: Install) -> None:
    document = entry_document("mine", origin="x", year="2024")
    document["implements"]["criterion"] = "MAGIC"
    install("bad", document=document)
    faults = {fault.pointer: fault.message for fault in faults_of("bad")}
    assert set(faults) >= {"/origin", "/year", "/implements/criterion"}
    assert '"LIS"' in faults["/implements/criterion"]


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import a_module_that_does_not_exist", "a_module_that_does_not_exist"),
        ("raise RuntimeError('out of\\ncheese')", "RuntimeError: out of cheese"),
        ("from apx import hookimpl\n@hookimpl\ndef apx_metods(): return []", "apx_metods"),
        ("from apx import hookimpl\n@hookimpl\ndef apx_methods(argument): return []", "argument"),
        ("from apx import hookimpl\n@hookimpl\ndef apx_methods(): raise SystemExit", "apx_methods failed: SystemExit"),
        ("from apx import hookimpl\n@hookimpl\ndef apx_methods(): return [3]", "not a class of Method"),
        ("from apx import hookimpl\n@hookimpl\ndef apx_methods(): return []", "slug = 'broken'"),
        ("from apx import hookimpl\n@hookimpl\ndef apx_methods(): return 3", "returned int, not a list"),
        ("class Odd(BaseException): pass\nraise Odd", "it cannot be loaded: Odd"),
        ("", "slug = 'broken'"),
    ],
)
def test_a_plugin_that_fails_is_named_and_the_others_load(install: Install, init: str, said: str) -> None:
    install("bad", document=entry_document("broken"), init=init)
    install("good", document=entry_document("mine"), init=GOOD, method=METHOD.format(slug="mine"))
    for _ in range(2):  # the second time from memory
        with pytest.raises(UserError, match=r"bad 1\.0") as error:
            registry.load_method("broken")
        assert said in str(error.value)
    assert registry.load_method("mine").__name__ == "Mine"
    assert {"broken", "mine"} <= set(slugs())


OFFER = "from apx import hookimpl\n@hookimpl\ndef apx_attacks(): return {}\n"


def test_merging_goes_on_past_broken_plugins_and_clashes(install: Install) -> None:
    install("a-broken", document=entry_document("broken"), init="raise SystemExit  # apx_attacks")
    install("b-clash", init=OFFER.format("{'pgd': int, 'fresh': list}"))
    install("c-wrong", init=OFFER.format("[1]"))
    install("d-clash", init=OFFER.format("{'fresh': dict, 7: dict, 'number': 8}"))
    attacks: dict[str, Any] = dict(registry.attacks())
    registry.attacks()
    assert attacks["fresh"] is list
    assert attacks["pgd"] is not int
    assert not {7, "number"} & set(attacks)
    assert ["SystemExit" in fault.message for fault in faults_of("a-broken")] == [True]
    assert ["belongs to apx-core" in fault.message for fault in faults_of("b-clash")] == [True]
    assert ["not a dict" in fault.message for fault in faults_of("c-wrong")] == [True]
    assert [fault.message for fault in faults_of("d-clash")] == [
        "apx_attacks returned a name that is not a text: 7",
        "apx_attacks returned 'number' as int, which cannot be called",
        "apx_attacks: the name 'fresh' belongs to b-clash already",
    ]


@pytest.mark.parametrize(
    ("init", "method", "attacks", "datasets"),
    [
        (OFFER, "", True, False),
        (GOOD, METHOD, False, False),
        ("from .method import *", "def apx_datasets(): ...", False, True),  # a file below the module counts
        ("import time", "", False, False),  # nothing that could bring a hook
        ("from elsewhere import *", "", True, True),
        ("", None, True, True),  # compiled
    ],
)
def test_what_a_plugin_may_offer_is_read_and_not_run(
    install: Install, init: str, method: str | None, attacks: bool, datasets: bool
) -> None:
    folder = install("stranger", document=entry_document("mine"), init="raise RuntimeError('imported')\n" + init)
    (folder / "method.py").write_text(method or "")
    if method is None:
        (folder / "hooks.pyc").write_bytes(b"")
    (plugin,) = [one for one in registry.plugins() if one.distribution == "stranger"]
    assert (plugin.may_offer("apx_attacks"), plugin.may_offer("apx_datasets")) == (attacks, datasets)


def test_merging_leaves_plugins_alone_that_do_not_name_the_hook(install: Install) -> None:
    broken = "raise RuntimeError('imported')\n"
    install("method-only", document=entry_document("mine"), init=broken + GOOD)
    install("object", document=entry_document("other"), init=broken, value="plugin_object:hooks")
    registry.attacks()
    assert faults_of("method-only") == []
    assert ["imported" in fault.message for fault in faults_of("object")] == [True]  # the object may have any hook


def test_a_plugin_that_takes_long_is_named_and_what_it_prints_leaves_stdout_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("apx.registry.host.IMPORT_PATIENCE", 0.01)
    hooks = OFFER.format("print('asked') or {'fresh': list}")
    install("slow", init="import time\ntime.sleep(0.5)\nprint('imported')\n" + hooks)
    assert registry.attacks()["fresh"] is list
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "the plugin slow 1.0 has been importing for 0.01 s; if it hangs, uninstall it",
        "imported",
        "asked",
    ]


def test_a_plugin_without_a_method_needs_no_entry(install: Install) -> None:
    install("extension", init="from apx import hookimpl\n@hookimpl\ndef apx_observers(): return {'mine': list}\n")
    assert faults_of("extension") == []
    assert registry.observers()["mine"] is list


def test_a_method_whose_entry_is_broken_is_asked_for_by_name(install: Install) -> None:
    install("apx-torn", document=entry_document("torn", stage="never"))
    with pytest.raises(UserError, match=r"'torn' cannot be listed: apx-torn 1\.0: entry at /stage: unknown field"):
        registry.entry("torn")


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (entry_document("twin"), entry_document("twin"), "slug"),
        (entry_document("one", key="X_Y2020Z"), entry_document("two", key="X_Y2020Z"), "key"),
        (entry_document("one", key="X_Y2020Z"), entry_document("two", key="x_y2020z"), "key"),
    ],
)
def test_duplicates_name_both_distributions_and_neither_is_chosen(
    install: Install, first: Any, second: Any, what: str
) -> None:
    install("left", document=first)
    install("right", document=second)
    install("other", document=entry_document("unharmed"))
    (failure,) = [fault for fault in registry.failures() if fault.what == "duplicate"]
    assert "left 1.0" in failure.message
    assert "right 1.0" in failure.message
    assert failure.pointer == f"/{what}"
    assert not {first["slug"], second["slug"]} & set(slugs())
    assert "unharmed" in slugs()
    with pytest.raises(UserError, match=r"left 1\.0 and right 1\.0"):
        registry.entry(first[what])


def test_a_stranger_cannot_stand_in_for_a_first_party_method(install: Install) -> None:
    install("impostor", document=entry_document("hydra"))
    with pytest.raises(UserError, match=r"(?=.*apx-hydra)(?=.*impostor)"):
        registry.load_method("hydra")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_package", "is not installed"),
        ("json_module_that_is_a_file", "single module"),
        ("not a module!", "names no module"),
    ],
)
def test_an_entry_point_that_leads_nowhere(install: Install, value: str, said: str) -> None:
    folder = install("lost", document=entry_document("lost"), value=value)
    (folder.parent / "json_module_that_is_a_file.py").write_text("")
    install("good", document=entry_document("good-one"))
    assert any(said in str(failure) for failure in registry.failures())
    assert "good-one" in slugs()
    assert "lost" not in slugs()


def test_unreadable_metadata_of_one_distribution_stops_nothing(install: Install, tmp_path: Path) -> None:
    install("good", document=entry_document("good-one"))
    for name, content in (("noise", b"\xff\xfe[apx]"), ("torn", b"[apx]\nhalf a line\n")):
        (write_metadata(tmp_path / "site", name, {}) / "entry_points.txt").write_bytes(content)
    registry.refresh()
    assert "good-one" in slugs()
    assert any("torn" in failure.distribution for failure in registry.failures())


def test_verdicts_are_remembered_by_content(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    import apx_taxonomy

    validated: list[str] = []
    genuine = apx_taxonomy.validate

    def counting(document: Any, schema: str) -> Any:
        validated.append(document["slug"])
        return genuine(document, schema)

    monkeypatch.setattr(apx_taxonomy, "validate", counting)
    folder = install("stranger", document=entry_document("mine"))
    assert "mine" in slugs()
    assert "mine" in validated
    validated.clear()
    registry.refresh()
    assert "mine" in slugs()
    assert validated == []
    (folder / "taxonomy.json").write_text(json.dumps(entry_document("mine", year=1066)))
    registry.refresh()
    assert "mine" not in slugs()
    assert validated == ["mine"]
    registry.refresh()
    assert [fault.pointer for fault in faults_of("stranger")] == ["/year"]
    assert validated == ["mine"]


@pytest.mark.parametrize("cache", [b"", b"[]", b"\xff", b'{"x": 3}', None])
def test_a_useless_cache_does_not_break_listing(install: Install, tmp_path: Path, cache: bytes | None) -> None:
    install("stranger", document=entry_document("mine"))
    home = tmp_path / "home"
    if cache is None:
        home.write_text("a file where the folder should be")
    else:
        home.mkdir()
        (home / "verdicts.json").write_bytes(cache)
    registry.refresh()
    assert "mine" in slugs()


def test_an_entry_only_method_says_so() -> None:
    only = next(entry for entry in registry.entries() if not entry.implemented)
    with pytest.raises(UserError, match=f"{only.name} is entry-only"):
        registry.load_method(only.slug)


def test_methods_answer_to_slug_key_and_name_in_any_case() -> None:
    hydra = registry.entry("hydra")
    assert registry.entry("HYDRA") is hydra
    assert registry.entry("hydra_sehwag2020hydra") is hydra
    assert registry.entry("bcs-p").slug == "bcs-p"
    with pytest.raises(UserError, match="did you mean 'hydra'"):
        registry.entry("hidra")


def test_every_first_party_entry_is_valid() -> None:
    registry.refresh()
    assert [failure for failure in registry.failures() if failure.distribution.startswith("apx-")] == []
    assert sum(entry.origin == "survey" for entry in registry.entries()) == 26
    assert sum(entry.origin == "baseline" for entry in registry.entries()) == 4


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"criterion": ["Bayesian connectivity sampling"]}, {"bcs-p"}),
        ({"criterion": ["bcs", "hgm"]}, {"bcs-p", "rfp"}),
        ({"stage": ["before"], "schedule": ["iterative"]}, {"cosentino19", "robustbird", "synflow", "wang20"}),
        ({"granularity": ["kernel"]}, {"sr-gkp"}),
        ({"objective": ["natural training"], "origin": ["survey"]}, {"sr-gkp"}),
        ({"year": ["-2018"]}, {"magnitude"}),
        ({"locality": ["n.s."]}, {"awt"}),
        ({"stage": ["during"], "structure": ["structured"]}, {"dnr", "intrain", "twinrep"}),
        ({"structure": ["S"], "stage": ["before"]}, {"synflow"}),
        ({"structure": ["S"], "stage": ["before"], "origin": ["survey"]}, set()),
    ],
)
def test_filters_combine_and_accept_long_names(query: dict[str, list[str]], expected: set[str]) -> None:
    assert {entry.slug for entry in select(registry.entries(), Query(**query))} == expected  # type: ignore[arg-type]


def test_least_importance_score_gives_the_surveys_eleven() -> None:
    assert len(select(registry.entries(), Query(criterion=["least importance score"], origin=["survey"]))) == 11


def test_a_variant_must_meet_all_filters_together(install: Install) -> None:
    document = entry_document("mine")
    first = document["implements"]["variants"][0]
    second = {**first, "structure": "S", "granularity": "filters", "schedule": "IT", "status": "entry-only"}
    document["implements"]["variants"].append(second)
    install("stranger", document=document)

    def matches(**query: Any) -> bool:
        return Query(by="implements", **query).matches(registry.entry("mine"))

    assert matches(structure=["S"], schedule=["IT"])
    assert matches(structure=["US"], schedule=["1S"], objective=["AT"])
    assert not matches(structure=["S"], schedule=["1S"])
    assert not matches(structure=["S"], implemented=True)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"criterion": ["LSI"]}, "LWM, SOLWM, RELWM, LIS, HGM, BCS, RANDOM; did you mean 'LIS'"),
        ({"stage": ["aftr"]}, "before, during, after; did you mean 'after'"),
        ({"objective": ["trade"]}, "did you mean 'trades'"),
        ({"year": ["MMXX"]}, "2019-2021"),
        ({"year": ["-"]}, "not a year"),
    ],
)
def test_a_wrong_filter_lists_the_valid_values_and_the_nearest(query: dict[str, list[str]], said: str) -> None:
    with pytest.raises(UserError) as error:
        Query(**query)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_looking_imports_nothing_heavy() -> None:
    code = (
        "import sys, apx; apx.entries(); apx.registry.failures(); "
        "heavy = {'torch', 'numpy', 'pydantic', 'sklearn', 'rich', 'pluggy', 'apx_hydra'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
