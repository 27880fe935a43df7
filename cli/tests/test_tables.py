"""Tables: one line a row where they fit, folded where they do not, whatever letters they have."""

import sys

import click
import pytest

from apx_cli.tables import natural_width, print_table

ROWS = [("first", "a short cell"), ("二番", "a cell of many words, which no narrow terminal has room for")]


def test_columns_line_up_and_lines_end_without_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("key", "text", rows=ROWS)
    head, rule, first, second = capsys.readouterr().out.splitlines()
    assert head == "key    text"
    assert first == "first  a short cell"
    assert second.startswith("二番   a cell")  # each of its letters takes two columns
    assert set(rule) <= {"─", "-"}
    assert len(rule) == natural_width(("key", "text"), ROWS)


@pytest.mark.parametrize("row", [ROWS[1], ("key", "two\nlines")])
def test_what_does_not_fit_is_folded_and_the_key_is_not(
    row: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    print_table("key", "text", rows=[row])
    printed = click.unstyle(capsys.readouterr().out).splitlines()
    assert len(printed) > 3
    assert max(map(len, printed)) <= 30
    assert any(line.startswith(row[0]) for line in printed)
    assert [word for line in printed[2:] for word in line.split()] == [row[0], *row[1].split()]


def test_a_pipe_has_no_edge_to_fold_at(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    print_table("key", "text", rows=[("key", "word " * 30)])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_table_without_rows_has_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("key", "text", rows=[])
    assert capsys.readouterr().out.splitlines()[0] == "key  text"
