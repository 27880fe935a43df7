"""Strangers' distributions for tests: a package and the metadata that an installer writes, put on the path."""

import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apx import registry


def entry_document(slug: str, **changes: Any) -> dict[str, Any]:
    """Return a valid entry of an after-training method with one unstructured variant."""
    variant = {
        "structure": "US",
        "granularity": "weights",
        "schedule": "1S",
        "locality": "L",
        "budget": "uniform",
        "sparsity_unit": "weights",
        "excluded_layers": [],
        "phases": [{"name": "pretrain", "objectives": ["trades"]}, {"name": "finetune", "objectives": ["pgd"]}],
        "status": "implemented",
        "basis": "paper",
    }
    return {
        "api": "1",
        "slug": slug,
        "key": None,
        "name": slug.upper(),
        "origin": "other",
        "title": "A method",
        "authors": ["A. Stranger"],
        "venue": None,
        "year": 2024,
        "url": None,
        "code": None,
        "bibtex": None,
        "implements": {"stage": "after", "criterion": "LIS", "differs": [], "variants": [variant]},
        **changes,
    }


def write_metadata(
    site: Path, name: str, points: Mapping[str, str], *, version: str = "1.0", requires: Sequence[str] = ()
) -> Path:
    """Write a distribution's metadata with its entry points in the group `apx`; return the folder."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
    lines = "".join(f"{point} = {value}\n" for point, value in points.items())
    (folder / "entry_points.txt").write_text(f"[apx]\n{lines}")
    return folder


def write_distribution(
    site: Path,
    name: str,
    files: Mapping[str, str],
    *,
    entry: Any = None,
    package: str | None = None,
    value: str | None = None,
    version: str = "1.0",
) -> Path:
    """Write a distribution with one package and one entry point; return the package's folder.

    Args:
        site: a folder on the path.
        name: the distribution's name.
        files: text by name within the package.
        entry: its `taxonomy.json`, as a document or as bytes; none where None.
        package: its package; made from the name where None.
        value: what the entry point names; the package where None.
        version: its version.
    """
    module = package or name.replace("-", "_")
    folder = site / module
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text)
    if entry is not None:
        content = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
        (folder / "taxonomy.json").write_bytes(content)
    write_metadata(site, name, {name: value or module}, version=version)
    return folder


@contextmanager
def on_path(site: Path) -> Iterator[None]:
    """Inside, the distributions of `site` are installed; afterwards nothing of them is left."""
    before = set(sys.modules)
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    registry.refresh()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        packages = {child.name for child in site.iterdir() if child.is_dir()}
        for module in set(sys.modules) - before:
            if module.partition(".")[0] in packages:
                del sys.modules[module]
        registry.refresh()
