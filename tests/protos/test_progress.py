"""Progress: a bar on a terminal; elsewhere lines, few of them, and none of work that is soon done."""

from __future__ import annotations

import io
import time

import pytest

from protos import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _loud(monkeypatch):
    monkeypatch.setattr(progress, "_silent", False)


def work(steps: int, seconds: float = 0.0, **more) -> None:
    with progress.bar(steps, "scoring", "piece", **more) as shown:
        for step in range(steps):
            time.sleep(seconds)
            shown.set_postfix({"loss": step}, refresh=False)
            shown.update()


def test_a_terminal_has_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    work(3)
    assert "\rscoring: 100%|" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_a_log_has_nothing_of_short_work(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    work(1000)
    assert log.getvalue() == ""


@pytest.mark.parametrize("leave", [True, False])
def test_a_log_has_a_line_now_and_then(leave, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)
    work(100, 0.01, leave=leave)
    lines = log.getvalue().splitlines()
    assert 2 <= len(lines) <= 7  # in a second or somewhat more, and the last one
    for line in lines:
        assert line.startswith("scoring: ")
        assert " of 100 pieces, " in line
        assert "loss=" in line
    done = [int(line.split()[1]) for line in lines]
    assert done == sorted(done)
    assert done[-1] == 100 or not leave


def test_a_log_has_no_cursor_to_move(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    with progress.bar(3, "training", "epoch") as epochs:
        for _ in range(3):
            work(10, 0.03, leave=False)
            epochs.update()
    lines = log.getvalue().splitlines()
    assert {line.partition(":")[0] for line in lines} == {"training", "scoring"}


def test_the_end_is_told_once_however_late_it_is_closed(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    with progress.bar(1, "training", "epoch") as epochs:
        time.sleep(0.05)
        epochs.update()
        time.sleep(1.1)
    assert len(log.getvalue().splitlines()) == 1


def test_a_silenced_process_shows_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    progress.silence()
    work(3)
    assert terminal.getvalue() == ""
