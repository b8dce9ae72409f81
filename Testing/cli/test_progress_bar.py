"""The bar is for people at a terminal; log files get whole lines only."""

from __future__ import annotations

import contextlib
import io

import pytest

from mois_core.cli import progress_bar as module
from mois_core.cli.progress_bar import progress_bar


class Terminal(io.StringIO):
    """Standard error as a person sees it."""

    def isatty(self) -> bool:
        return True

    def new(self) -> str:
        """What was written since the last look."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@pytest.fixture
def a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


@pytest.fixture
def a_clock(monkeypatch):
    times = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: times[0])
    return times


def test_nothing_is_drawn_into_a_log_file():
    log = io.StringIO()
    with contextlib.redirect_stderr(log), progress_bar() as bar:
        bar(1, 10, "working")
        bar.say("something happened")
    assert log.getvalue() == "something happened\n"


def test_a_terminal_sees_how_far_it_is_and_is_left_clean(a_terminal):
    with contextlib.redirect_stderr(a_terminal), progress_bar() as bar:
        bar(5, 10, "working")
        assert a_terminal.new() == "\rworking [###############               ] 5 of 10"
    wiped = a_terminal.new()
    assert wiped.strip() == "" and wiped.endswith("\r")


def test_a_message_stands_on_a_line_of_its_own(a_terminal):
    with contextlib.redirect_stderr(a_terminal), progress_bar() as bar:
        bar(5, 10, "working")
        bar.say("something happened")
        bar(6, 10, "working")
    assert "\rsomething happened\n\rworking" in a_terminal.new()


def test_the_bar_goes_away_when_something_goes_wrong(a_terminal):
    with (
        contextlib.redirect_stderr(a_terminal),
        pytest.raises(KeyboardInterrupt),
        progress_bar() as bar,
    ):
        bar(5, 10, "working")
        raise KeyboardInterrupt
    assert a_terminal.new().endswith(" \r")


def test_the_time_left_counts_from_where_the_work_began(a_terminal, a_clock):
    with contextlib.redirect_stderr(a_terminal), progress_bar() as bar:
        bar(50, 100, "resumed")
        a_clock[0] = 5.0
        bar(55, 100, "resumed")
        assert "left" not in a_terminal.new()
        a_clock[0] = 20.0
        bar(60, 100, "resumed")
        assert "60 of 100, 80 s left" in a_terminal.new()
        a_clock[0] = 200.0
        bar(61, 100, "resumed")
        assert "61 of 100, 12 min left" in a_terminal.new()


def test_a_narrow_terminal_gets_a_shorter_line(a_terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    with contextlib.redirect_stderr(a_terminal), progress_bar() as bar:
        bar(5, 10, "working on something with a long name")
        assert len(a_terminal.new().strip()) < 20
