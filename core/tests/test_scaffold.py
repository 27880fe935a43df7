"""A new plugin's files: valid for every place in the taxonomy, all or nothing on disk, and mistakes are sentences."""

import ast
import itertools
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from apx.errors import UserError
from apx.scaffold import BUDGETS, CRITERIA, GRANULARITIES, Wish, distribution, files, write
from apx_taxonomy import validate

AFTER = {"stage": "after", "schedule": "1S", "structure": "US", "locality": "G", "criterion": "LIS"}
PLACES = [
    Wish(f"new-{stage}-{number}", stage, schedule, structure, locality, criterion, granularity, budget)
    for number, (stage, schedule, structure, locality, criterion) in enumerate(
        itertools.product(("before", "during", "after"), ("1S", "IT"), GRANULARITIES, BUDGETS, CRITERIA)
    )
    for granularity in GRANULARITIES[structure]
    for budget in BUDGETS[locality]
]


def test_every_place_in_the_taxonomy_gives_a_valid_entry_and_code_that_parses() -> None:
    assert len(PLACES) == 3 * 2 * 4 * 3 * 7
    for wish in PLACES:
        made = files(wish)
        entry = json.loads(made[f"src/{wish.package}/taxonomy.json"])
        assert validate(entry, "entry") == [], wish
        tree = ast.parse(made[f"src/{wish.package}/method.py"])
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        assert classes[-1] == wish.class_name
        project = tomllib.loads(made["pyproject.toml"])
        assert project["project"]["entry-points"]["apx"] == {wish.slug: wish.package}
        steps = yaml.safe_load(made[".github/workflows/test.yml"])["jobs"]["test"]["steps"]
        assert {"run": f"apx plugin check {wish.slug}"} in steps


def test_what_is_written_is_formatted_and_passes_the_linter(tmp_path: Path) -> None:
    for wish in PLACES[::7] + PLACES[1::31]:
        if not (tmp_path / wish.slug).exists():
            write(wish, tmp_path / wish.slug)
    config = Path(__file__).parents[2] / "pyproject.toml"
    for words in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        ruff = [sys.executable, "-m", "ruff", *words, "--config", str(config), str(tmp_path)]
        done = subprocess.run(ruff, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_words_left_out_are_filled_in() -> None:
    wish = Wish("my-method", **AFTER)
    assert (wish.granularity, wish.budget, wish.name, wish.package) == (
        "weights",
        "global",
        "My Method",
        "apx_my_method",
    )
    filters = Wish("my-method", **(AFTER | {"structure": "S", "locality": "L"}))
    assert (filters.granularity, filters.budget, filters.excluded_layers) == ("filters", "uniform", ("classifier",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slug": "My_Method"}, "'My_Method' is no slug: use lower-case letters"),
        ({"slug": "hydra"}, "there is a method 'hydra' already, from apx-hydra"),
        (
            {"stage": "afterwards"},
            "'afterwards' is not a stage: use one of before, during, after; did you mean 'after'",
        ),
        ({"granularity": "filters"}, "'filters' is not a granularity of structure US: use one of weights"),
        ({"budget": "uniform"}, "'uniform' is not a budget of locality G: use one of global"),
        ({"name": 'My "own"'}, "write one line without double quotes"),
        ({"author": "two\nlines"}, "write one line without double quotes"),
        ({"criterion": "TAYLOR"}, "'TAYLOR' is not a criterion: use one of LWM"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_in_a_sentence(changes: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Wish(**({"slug": "my-method"} | AFTER | changes))


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "apx-my-method" / "notes"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(UserError, match="exists already; choose another folder with --out"):
        write(Wish("my-method", **AFTER), kept.parent)
    assert list(tmp_path.rglob("*")) == [kept.parent, kept]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"README.md": "text", "README.md/below-a-file": "text"}
    monkeypatch.setattr(distribution, "files", lambda wish: broken)
    with pytest.raises(OSError, match="README"):
        write(Wish("my-method", **AFTER), tmp_path / "new" / "apx-my-method")
    assert list((tmp_path / "new").iterdir()) == []
