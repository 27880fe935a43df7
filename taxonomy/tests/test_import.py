import subprocess
import sys

import apx_taxonomy


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(shown.stdout.split())


def test_importing_loads_none_of_its_modules():
    loaded = modules_after("import apx_taxonomy")
    assert "apx_taxonomy" in loaded
    assert not [name for name in loaded if name.startswith("apx_taxonomy.")]
    assert "jsonschema" not in loaded


def test_vocabulary_and_leaderboards_need_no_jsonschema():
    loaded = modules_after("import apx_taxonomy as t; t.resolve('stage', 'after'); t.leaderboard_names()")
    assert "jsonschema" not in loaded


def test_nothing_imports_torch_or_numpy():
    loaded = modules_after("import apx_taxonomy as t; t.validate({}, 'entry')")
    assert "jsonschema" in loaded
    assert not {"torch", "numpy"} & loaded


def test_every_public_name_exists():
    for name in apx_taxonomy.__all__:
        assert getattr(apx_taxonomy, name) is not None
    assert set(apx_taxonomy.__all__) <= set(dir(apx_taxonomy))
