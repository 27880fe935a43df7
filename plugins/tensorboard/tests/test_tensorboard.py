"""The event files, read back: one point per epoch and curve, with steps that a killed and resumed run shares."""

import itertools
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tensorboardX import event_file_writer
from tensorboardX.proto.event_pb2 import Event, SessionLog

from apx import Observer, UserError, registry
from apx.runner.directory import RunDirectory
from apx_tensorboard.command import write
from apx_tensorboard.observer import TensorBoard

Maker = Callable[..., Any]
Curves = dict[str, list[tuple[int, float]]]
TWO_EPOCHS = {"pretrain.epochs": 2, "pretrain.steps": 1, "finetune.epochs": 2, "finetune.steps": 1}


class KilledError(Exception):
    """Stands for a kill."""


class KillAfter(Observer):
    """Ends a run when an epoch has been told of, before its checkpoint."""

    def __init__(self, phase: str, epoch: int) -> None:
        self.at = (phase, epoch)

    def epoch(self, record: Mapping[str, Any]) -> None:
        if (record["phase"], record["epoch"]) == self.at:
            raise KilledError


def events(file: Path) -> Iterator[Event]:
    """Read TensorBoard's records: length, its checksum, an event, its checksum."""
    content = file.read_bytes()
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]


def curves(run: Path, *, purged: bool = True) -> Curves:
    """Return the points of each curve in the order of the files, without those that a later file calls off."""
    points: Curves = {}
    for file in sorted((run / "tensorboard").iterdir()):
        for event in events(file):
            if purged and event.session_log.status == SessionLog.START:
                points = {tag: [p for p in curve if p[0] < event.step] for tag, curve in points.items()}
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def life(trial: Maker, path: Path, *observers: Observer) -> None:
    """Run, or go on with, a run in `path`."""
    made = trial("magnitude", sparsity=0.5, set=TWO_EPOCHS, observers=observers)
    made.run.directory = RunDirectory(path) if path.exists() else RunDirectory.create(path, {})
    made.execute()


@pytest.fixture(autouse=True)
def _files_ten_seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event files are named by the second; lives of a run that follow each other faster would share a file."""
    clock = itertools.count(1_700_000_000, 10)
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: float(next(clock))))


@pytest.fixture
def undisturbed(trial: Maker, tmp_path: Path) -> Curves:
    life(trial, tmp_path / "whole", TensorBoard())
    return curves(tmp_path / "whole")


def test_each_epoch_is_a_point_of_its_phase_and_steps_run_through_all_phases(undisturbed: Curves) -> None:
    steps = {tag: [step for step, _ in curve] for tag, curve in undisturbed.items()}
    assert steps["pretrain/train/loss"] == steps["pretrain/train/lr"] == [0, 1]
    assert steps["finetune/loss"] == steps["finetune/seconds"] == [2, 3]
    assert [(step, round(value, 2)) for step, value in undisturbed["sparsity"]] == [(0, 0), (1, 0), (2, 0.5), (3, 0.5)]
    assert {tag for tag in steps if "epoch" in tag.rpartition("/")[2] or tag.endswith("phase")} == set()


def test_the_points_are_the_run_s_own_records(trial: Maker, tmp_path: Path) -> None:
    life(trial, tmp_path / "run", TensorBoard())
    records = RunDirectory(tmp_path / "run").metrics()
    written = curves(tmp_path / "run")
    for step, record in enumerate(records):
        assert dict(written[f"{record['phase']}/loss"])[step] == pytest.approx(record["loss"], rel=1e-6)


@pytest.mark.parametrize("phase", ["pretrain/train", "finetune"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resumed_run_shows_the_curves_of_an_undisturbed_one(
    trial: Maker, tmp_path: Path, undisturbed: Curves, phase: str, epoch: int
) -> None:
    path = tmp_path / "killed"
    with pytest.raises(KilledError):
        life(trial, path, TensorBoard(), KillAfter(phase, epoch))
    life(trial, path, TensorBoard())
    twice = [step for step, _ in curves(path, purged=False)["sparsity"]]
    assert len(twice) == 5, "the epoch whose checkpoint was lost is written again"
    assert without_seconds(curves(path)) == without_seconds(undisturbed)


def test_epochs_that_were_not_watched_keep_their_steps(trial: Maker, tmp_path: Path, undisturbed: Curves) -> None:
    with pytest.raises(KilledError):
        life(trial, tmp_path / "run", KillAfter("finetune", 0))
    life(trial, tmp_path / "run", TensorBoard())
    assert curves(tmp_path / "run")["sparsity"] == undisturbed["sparsity"][2:]


def test_the_command_writes_the_curves_of_a_run_that_was_not_observed(
    trial: Maker, tmp_path: Path, undisturbed: Curves
) -> None:
    run = tmp_path / "run"
    life(trial, run)
    command = registry.commands()["tensorboard"]
    assert CliRunner().invoke(command, [str(run)]).output == f"{run / 'tensorboard'}\n"
    expected = {tag: curve for tag, curve in undisturbed.items() if tag != "sparsity"}
    assert without_seconds(curves(run)) == without_seconds(expected)
    with pytest.raises(UserError, match="has curves already; remove"):
        write(run)
    RunDirectory.create(tmp_path / "idle", {})
    with pytest.raises(UserError, match="has no epochs to show"):
        write(tmp_path / "idle")
    with pytest.raises(UserError, match="is not a run directory"):
        write(tmp_path)


def test_a_run_without_a_directory_is_refused(trial: Maker) -> None:
    with pytest.raises(UserError, match="writes into the run directory"):
        trial("magnitude", set=TWO_EPOCHS, observers=[TensorBoard()]).execute()


def test_it_is_offered_by_the_hook_and_loads_nothing() -> None:
    assert isinstance(registry.observers()["tensorboard"](), TensorBoard)
    code = (
        "import sys, apx_tensorboard as plugin; plugin.apx_observers(); plugin.apx_commands()\n"
        "print([name for name in ('torch', 'numpy', 'tensorboardX') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def without_seconds(points: Curves) -> Curves:
    return {tag: curve for tag, curve in points.items() if not tag.endswith("seconds")}
