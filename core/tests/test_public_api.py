"""What `import apx` exports is the committed list, is documented, and states one API version everywhere."""

import difflib
import inspect
import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator

import pytest

import apx
from apx import hookspecs
from apx_taxonomy import schema

from . import public_api

HOW = """
The public interface differs from core/tests/public_api.json (- committed, + now):

{diff}
If that is meant:
  1. a name or parameter that goes or changes its name warns for one minor version first (apx/deprecation.py);
  2. bump the API version (apx.API_VERSION, and `api` in the schema of entries) when a plugin could break: a member or
     parameter gone, a new abstract method, a new required parameter, a changed default that a plugin relies on;
  3. uv run python core/tests/public_api.py --write
"""


def test_the_interface_is_the_committed_one() -> None:
    committed, now = public_api.FILE.read_text(), public_api.text(public_api.interface())
    diff = difflib.unified_diff(committed.splitlines(), now.splitlines(), "committed", "now", lineterm="", n=4)
    assert committed == now, HOW.format(diff="\n".join(diff))


def test_a_change_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new parameter, a new abstract method and an export that is gone each change the list."""

    def evaluate(module, split, *, attack, eps, norm="Linf"): ...

    class Observer(apx.Observer, ABC):
        @abstractmethod
        def step(self, phase, epoch, step, model): ...

    before = json.loads(public_api.text(public_api.interface()))
    monkeypatch.setattr(apx, "evaluate", evaluate)
    monkeypatch.setattr(apx, "Observer", Observer)
    monkeypatch.setattr(apx, "__all__", [name for name in apx.__all__ if name != "shrink"])
    after = json.loads(public_api.text(public_api.interface()))
    assert after["names"]["evaluate"]["signature"] == "(module, split, *, attack, eps, norm='Linf')"
    assert after["names"]["Observer"]["members"]["step"].startswith("abstract method")
    assert set(before["names"]) - set(after["names"]) == {"shrink"}


def test_every_export_can_be_had_and_is_listed_for_type_checkers() -> None:
    assert sorted(apx.__all__) == sorted({*apx._HOMES, "API_VERSION"})
    assert all(getattr(apx, name) is not None for name in apx.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Purne'"):
        _ = apx.Purne


def test_the_api_version_is_that_of_the_entries() -> None:
    assert schema("entry")["properties"]["api"]["const"] == apx.API_VERSION


def test_importing_apx_and_its_deprecations_stays_light() -> None:
    loaded = "sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    code = f"import sys, apx, apx.deprecation, apx.hookspecs; print({loaded})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def documented() -> Iterator[tuple[str, object]]:
    """Yield every export, every public member that apx defines on one, and every hook."""
    for name in apx.__all__:
        exported = getattr(apx, name)
        if isinstance(exported, type):
            yield name, exported
            for base in public_api.own_classes(exported):
                for member, value in vars(base).items():
                    if not member.startswith("_") and (inspect.isroutine(value) or hasattr(value, "__get__")):
                        yield f"{base.__name__}.{member}", value
        elif inspect.isroutine(exported):
            yield name, exported
    for name, hook in vars(hookspecs).items():
        if name.startswith("apx_"):
            yield name, hook


@pytest.mark.parametrize(("name", "thing"), sorted(dict(documented()).items()))
def test_what_is_public_has_a_docstring_of_its_own(name: str, thing: object) -> None:
    text = getattr(getattr(thing, "__func__", thing), "__doc__", None)
    assert text, f"{name} has no docstring"
    assert not text.startswith(f"{name}("), f"{name} has only the docstring that dataclasses write"


@pytest.mark.parametrize("name", sorted(name for name in apx.__all__ if inspect.isfunction(getattr(apx, name))))
def test_a_function_s_docstring_names_each_of_its_parameters(name: str) -> None:
    """All, or none where one sentence says it without: one or two parameters."""
    function = getattr(apx, name)
    parameters = list(inspect.signature(function).parameters)
    missing = [parameter for parameter in parameters if parameter not in (function.__doc__ or "")]
    assert not missing or len(parameters) <= 2, f"{name}: {missing}"
