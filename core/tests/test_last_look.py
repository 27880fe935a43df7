"""What a listing remembers of the path: it reads nothing again while nothing changes, and misses no change."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from strangers import entry_document, on_path, write_distribution

from apx import registry

MOMENTS = itertools.count(946_684_800)  # seconds of the year 2000


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with one plugin, old enough to be remembered."""
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    place = tmp_path / "site"
    place.mkdir()
    add(place, "first")
    with on_path(place):
        yield place


def add(site: Path, name: str, slug: str | None = None) -> Path:
    folder = write_distribution(site, name, {"__init__.py": ""}, entry=entry_document(slug or name), package=name)
    settle(site)
    return folder


def settle(site: Path) -> None:
    """Let everything be old, a moment newer than before: what is newer than two seconds is not relied upon."""
    moment = next(MOMENTS)
    for path in (site, *site.rglob("*")):
        os.utime(path, (moment, moment))


def slugs() -> set[str]:
    registry.refresh()
    return {entry.slug for entry in registry.entries()} & {"first", "second", "renamed"}


def looked(site: Path) -> bool:
    """Say whether a new process reads the metadata of the distributions again."""
    code = "import sys, apx; apx.entries(); print('importlib.metadata' in sys.modules)"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=clean | {"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


def test_metadata_are_read_once(site: Path) -> None:
    assert looked(site)
    assert not looked(site)
    add(site, "second")
    assert looked(site)
    assert not looked(site)


def test_a_plugin_that_comes_or_goes_is_noticed(site: Path) -> None:
    assert slugs() == {"first"}
    second = add(site, "second")
    assert slugs() == {"first", "second"}
    shutil.rmtree(second)
    shutil.rmtree(next(site.glob("second-*.dist-info")))
    settle(site)
    assert slugs() == {"first"}


def test_an_entry_that_changes_is_read_and_judged_again(site: Path) -> None:
    assert slugs() == {"first"}
    entry = site / "first" / "taxonomy.json"
    entry.write_text(json.dumps(entry_document("renamed")))
    settle(site)
    assert slugs() == {"renamed"}
    entry.write_text(json.dumps(entry_document("renamed", year=1066)))
    settle(site)
    assert slugs() == set()
    assert [fault.pointer for fault in registry.failures() if fault.distribution == "first"] == ["/year"]


def test_entry_points_that_change_in_their_place_are_noticed(site: Path) -> None:
    assert slugs() == {"first"}
    points = next(site.glob("first-*.dist-info")) / "entry_points.txt"
    points.write_text("[other]\nfirst = first\n")
    settle(site)
    assert slugs() == set()


def test_a_version_that_changes_in_its_place_is_noticed(site: Path) -> None:
    """As `setup.py develop` rewrites it: no folder changes, and the entry points stay as they are."""
    assert slugs() == {"first"}
    metadata = next(site.glob("first-*.dist-info")) / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: first\nVersion: 7.8.9\n")
    os.utime(metadata, (moment := next(MOMENTS), moment))
    registry.refresh()
    [version] = [entry.version for entry in registry.entries() if entry.slug == "first"]
    assert version == "7.8.9"


def test_what_has_just_been_written_is_not_relied_upon(site: Path) -> None:
    """A clock may be too coarse to tell two changes apart: neither time nor size shows the second one."""
    entry = site / "first" / "taxonomy.json"
    os.utime(entry)  # now
    assert slugs() == {"first"}
    before = entry.stat()
    entry.write_text(entry.read_text().replace('"year": 2024', '"year": 1066'))
    os.utime(entry, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert entry.stat().st_size == before.st_size
    assert slugs() == set()
    assert [fault.pointer for fault in registry.failures() if fault.distribution == "first"] == ["/year"]


@pytest.mark.parametrize("cache", [b"", b"[]", b"\xff", b'{"x": 3}'])
def test_a_useless_memory_does_not_break_listing(site: Path, cache: bytes) -> None:
    assert slugs() == {"first"}
    file = Path(os.environ["APX_HOME"]) / "path.json"
    state = next(reversed(json.loads(file.read_bytes())))
    for content in (cache, json.dumps({state: [["first"]]}).encode(), json.dumps({state: 3}).encode()):
        file.write_bytes(content)
        assert slugs() == {"first"}
