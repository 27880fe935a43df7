"""The bar on a terminal: it appears with the first phase, so that who has nothing to tell leaves the terminal alone."""

import pytest

from apx.runner.progress import Bar


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("terminal")
def test_a_bar_without_a_phase_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Bar().close()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("terminal")
def test_a_bar_shows_phases_and_gives_the_cursor_back(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar()
    bar.phase("finetune", 2)
    bar.step(0.5)
    bar.step(0.25)
    bar.close()
    shown = capsys.readouterr().err
    assert "finetune" in shown
    assert "loss 0.250" in shown
    assert shown.endswith("\x1b[?25h")
