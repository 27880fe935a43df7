"""A deprecation warns, names replacement and removal, works meanwhile, and does not outlive its version."""

import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from importlib.metadata import version

import pytest

import apx
from apx import deprecation
from apx.deprecation import Deprecation, deprecated, deprecated_parameter, known, minor

INSTALLED = version("apx-core")


@pytest.fixture(autouse=True)
def _what_a_test_deprecates_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deprecation, "_KNOWN", dict(deprecation._KNOWN))


def test_a_renamed_export_warns_and_is_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(apx._DEPRECATED, "sparsity_of", ("reported_sparsity", "0.2", "0.3"))
    said = r"apx\.sparsity_of is deprecated since apx-core 0\.2 and goes in 0\.3: use apx\.reported_sparsity"
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match=said) as heard:
            assert apx.sparsity_of is apx.reported_sparsity
        assert heard[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=said):
        from apx import sparsity_of  # noqa: F401
    assert "sparsity_of" not in apx.__all__


def test_a_deprecated_function_works_and_warns_whoever_calls_it() -> None:
    @deprecated(since="0.2", removed_in="0.4", instead="twice")
    def double(number: int) -> int:
        """Return the double."""
        return 2 * number

    with pytest.warns(DeprecationWarning, match="double is deprecated .* goes in 0.4: use twice") as heard:
        assert double(4) == 8
    assert (heard[0].filename, double.__name__, double.__doc__) == (__file__, "double", "Return the double.")


def test_a_deprecated_class_stays_a_class_and_its_subclasses_warn_too() -> None:
    @deprecated(since="1.9", removed_in="2.0", instead="New")
    class Old:
        def __init__(self, value: int) -> None:
            self.value = value

    class Own(Old):
        pass

    for kind in (Old, Own):
        with pytest.warns(DeprecationWarning, match="Old is deprecated .* use New") as heard:
            made = kind(3)
        assert (made.value, isinstance(made, Old), heard[0].filename) == (3, True, __file__)


def test_a_deprecated_parameter_warns_only_where_it_is_given() -> None:
    @deprecated_parameter("radius", since="0.2", removed_in="0.3", instead="eps")
    def attack(*, eps: float = 0.0, radius: float | None = None) -> float:
        return eps if radius is None else radius

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attack(eps=0.1) == 0.1
    with pytest.warns(DeprecationWarning, match="the parameter radius of .*attack is deprecated .* use eps") as heard:
        assert attack(radius=0.2) == 0.2
    assert heard[0].filename == __file__


@pytest.mark.parametrize(("since", "removed_in"), [("0.2", "0.2.5"), ("0.3", "0.2"), ("1.0", "0.9")])
def test_a_deprecation_warns_for_one_minor_version_at_least(since: str, removed_in: str) -> None:
    with pytest.raises(ValueError, match="no minor version"):
        Deprecation("it", since, removed_in, "that")


@pytest.mark.parametrize(("now", "outlived"), [("0.2.0", False), ("0.2.9", False), ("0.3.0", True), ("1.0", True)])
def test_a_deprecation_has_outlived_itself_in_the_version_of_its_removal(now: str, outlived: bool) -> None:
    assert Deprecation("it", "0.2", "0.3", "that").outlived(now) is outlived


def test_what_is_deprecated_is_known() -> None:
    deprecated(since="0.2", removed_in="0.3", instead="that")(lambda: None)
    assert [one for one in known() if one.name.startswith(__name__)]


def everything() -> Iterator[Deprecation]:
    """Yield all deprecations of apx-core: of every module, and of its exports."""
    for module in pkgutil.walk_packages(apx.__path__, "apx."):
        if not module.name.rpartition(".")[2].startswith("_"):
            importlib.import_module(module.name)
    yield from known()
    for old, (new, since, removed_in) in apx._DEPRECATED.items():
        assert new in apx.__all__, f"{old} was renamed to {new}, which apx does not export"
        yield Deprecation(f"apx.{old}", since, removed_in, f"apx.{new}")


def test_nothing_deprecated_has_outlived_its_removal() -> None:
    late = [str(one) for one in everything() if one.outlived(INSTALLED)]
    assert late == [], f"apx-core is {INSTALLED}: remove what should be gone"
    early = [str(one) for one in everything() if minor(one.since) > minor(INSTALLED)]
    assert early == [], f"apx-core is {INSTALLED}: this warns already"
