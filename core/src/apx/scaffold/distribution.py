"""The files of a new plugin's distribution, and the folder that holds them."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import UserError
from .criteria import STARTS
from .entry import PHASES, Description
from .method import method_source, template
from .wish import Wish

_OBJECTIVES = ("trades", "pgd", "nat")


def write(wish: Wish, folder: Path) -> list[Path]:
    """Write the distribution into a new folder and return its files; all of them are there, or none.

    Raises:
        UserError: the folder exists, or cannot be made.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already; choose another folder with --out")
    texts = files(wish)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be made: {error.strerror}; choose another with --out") from error
    try:
        for name, text in texts.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(text, encoding="utf-8")
        made.chmod(0o755)  # mkdtemp makes it private
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return [folder / name for name in texts]


def files(wish: Wish) -> dict[str, str]:
    """Return the text of each file by its path within the distribution."""
    source = f"src/{wish.package}"
    words = _words(wish)
    return {
        "pyproject.toml": template("pyproject").substitute(words),
        "README.md": template("readme").substitute(words),
        ".gitignore": template("gitignore").substitute(words),
        ".github/workflows/test.yml": template("workflow").substitute(words),
        f"{source}/__init__.py": template("init").substitute(words),
        f"{source}/py.typed": "",
        f"{source}/taxonomy.json": json.dumps(entry(wish), indent=2, ensure_ascii=False) + "\n",
        f"{source}/method.py": method_source(wish),
        f"tests/test_{wish.package.removeprefix('apx_')}.py": template("tests").substitute(words),
    }


def entry(wish: Wish) -> dict[str, Any]:
    """Return the taxonomy entry: valid as it stands, with what only the author knows left open (null)."""
    return Description(
        slug=wish.slug,
        name=wish.name,
        title=wish.name,
        authors=(wish.author,),
        year=datetime.now(UTC).year,
        stage=wish.stage,
        schedules=(wish.schedule,),
        structures=(wish.structure,),
        localities=(wish.locality,),
        criterion=wish.criterion,
        objectives=dict.fromkeys(_training(wish), _OBJECTIVES),
        granularity=wish.granularity,
        budgets={wish.locality: wish.budget},
        status="implemented",
    ).entry()


def _training(wish: Wish) -> list[str]:
    """List the phases that train; ranking alone trains nothing."""
    pulls = bool(STARTS[wish.criterion].pull)
    return [name for name in PHASES[wish.stage] if name != "prune" or pulls]


def _words(wish: Wish) -> dict[str, str]:
    return {
        "slug": wish.slug,
        "name": wish.name,
        "author": wish.author,
        "package": wish.package,
        "cls": wish.class_name,
        "stage": wish.stage,
        "schedule": wish.schedule,
        "structure": wish.structure,
        "granularity": wish.granularity,
        "locality": wish.locality,
        "budget": wish.budget,
        "criterion": wish.criterion,
        "words": STARTS[wish.criterion].words,
    }
