"""State files hold nested state without pickle, and appear whole or not at all."""

import os
from pathlib import Path

import pytest
import torch

from apx import paths
from apx.state_file import load_state, save_state


def test_nested_state_survives_a_round_trip(tmp_path: Path) -> None:
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
    optimizer.step()
    state = {
        "a": [1, 2.5, None, True],
        "w": weight,
        3: ("x", torch.arange(3)),
        "optimizer": optimizer.state_dict(),
    }
    save_state(tmp_path / "s.safetensors", state)
    loaded = load_state(tmp_path / "s.safetensors")
    assert loaded["a"] == [1, 2.5, None, True]
    assert torch.equal(loaded["w"], weight)
    assert loaded[3][0] == "x"
    assert isinstance(loaded[3], tuple)
    optimizer.load_state_dict(loaded["optimizer"])


def test_foreign_objects_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Path"):
        save_state(tmp_path / "s.safetensors", {"p": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.safetensors"
    save_state(path, {"v": 1})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(paths.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_state(path, {"v": 2})
    monkeypatch.undo()
    assert load_state(path) == {"v": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_what_is_written_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        paths.atomic_write(tmp_path / "figure.svg", b"<svg/>")
    finally:
        os.umask(before)
    assert (tmp_path / "figure.svg").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["figure.svg"]
