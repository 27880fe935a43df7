"""What a kill or a power cut leaves of a checkpoint: the last whole state, never a torn one."""

from pathlib import Path

import pytest
import torch

from apx.runner.directory import RunDirectory


def number(state: dict[str, object] | None) -> int | None:
    return None if state is None else int(state["weight"][0])  # type: ignore[index]


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory with checkpoint 1 synced and checkpoint 2 written, the process killed before its sync."""
    directory = RunDirectory.create(tmp_path / "run", {})
    directory.save_partial("train", {"weight": torch.tensor([1.0, 2.0])})
    directory.settle()
    monkeypatch.setattr("apx.runner.directory.settle", lambda *_: None)
    directory.save_partial("train", {"weight": torch.tensor([2.0, 3.0])})
    return directory.path


def test_a_kill_right_after_a_write_does_not_lose_it(killed: Path) -> None:
    assert number(RunDirectory(killed).partial("train")) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b[:-8] + bytes(8), lambda b: b""])
def test_a_torn_file_gives_way_to_the_synced_one(killed: Path, damage) -> None:
    (recent,) = (killed / "checkpoints").glob("train.recent-*")
    recent.write_bytes(damage(recent.read_bytes()))
    directory = RunDirectory(killed)
    assert number(directory.partial("train")) == 1
    directory.save_partial("train", {"weight": torch.tensor([3.0, 4.0])})
    assert number(directory.partial("train")) == 3


def test_a_phase_at_its_end_leaves_one_file(killed: Path) -> None:
    directory = RunDirectory(killed)
    directory.finish("train", {"weight": torch.zeros(1)})
    assert [path.name for path in directory.checkpoints.iterdir()] == ["train.safetensors"]
    assert directory.partial("train") is None


def test_a_checkpoint_of_another_phase_is_not_taken(killed: Path) -> None:
    assert RunDirectory(killed).partial("tra") is None


def test_a_failed_sync_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    directory = RunDirectory.create(tmp_path / "run", {})
    monkeypatch.setattr("apx.runner.directory.settle", full)
    directory.save_partial("train", {"weight": torch.zeros(1)})
    with pytest.raises(OSError, match="no space"):
        directory.settle()
