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
from .method import method_source, template
from .wish import Wish

_OBJECTIVES = ["trades", "pgd", "nat"]
_PHASES = {"after": ("pretrain", "prune", "finetune"), "before": ("prune", "train"), "during": ("train",)}


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
    return {
        "api": "1",
        "slug": wish.slug,
        "key": None,
        "name": wish.name,
        "origin": "other",
        "title": wish.name,
        "authors": [wish.author],
        "venue": None,
        "year": datetime.now(UTC).year,
        "url": None,
        "code": None,
        "bibtex": None,
        "implements": {
            "stage": wish.stage,
            "criterion": wish.criterion,
            "differs": [],
            "variants": [_variant(wish)],
        },
    }


def _variant(wish: Wish) -> dict[str, Any]:
    return {
        "structure": wish.structure,
        "granularity": wish.granularity,
        "schedule": wish.schedule,
        "locality": wish.locality,
        "budget": wish.budget,
        "sparsity_unit": wish.granularity,
        "excluded_layers": list(wish.excluded_layers),
        "phases": _phases(wish),
        "status": "implemented",
        "basis": "paper",
    }


def _phases(wish: Wish) -> list[dict[str, Any]]:
    """List the phases that train; ranking alone trains nothing."""
    pulls = bool(STARTS[wish.criterion].pull)
    phases: list[dict[str, Any]] = []
    for name in _PHASES[wish.stage]:
        if name == "prune" and not pulls:
            continue
        phase: dict[str, Any] = {"name": name, "objectives": _OBJECTIVES}
        if wish.schedule == "IT" and name in ("prune", "finetune"):
            phase["repeats"] = True
        phases.append(phase)
    return phases


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
