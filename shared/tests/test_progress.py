"""Progress: plain lines on a clock of the test's own, a bar on a terminal, silence on other ranks."""

from __future__ import annotations

import io
import sys

import pytest

from roadmap_shared.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """A clock that the test moves: `clock.now += 1`."""

    class Clock:
        now = 100.0

    monkeypatch.setattr("roadmap_shared.progress.time.monotonic", lambda: Clock.now)
    return Clock


def test_a_first_line_soon_then_one_every_ten_seconds_and_the_last(clock, capsys):
    for _ in progress(50, "training", "step"):
        clock.now += 0.5
    assert capsys.readouterr().err.splitlines() == [
        "training: 2/50 step (4%), 2 step/s, 0:24 left",
        "training: 22/50 step (44%), 2 step/s, 0:14 left",
        "training: 42/50 step (84%), 2 step/s, 0:04 left",
        "training: 50/50 step (100%), 2 step/s, 0:25 spent",
    ]


def test_counting_by_hand_with_a_postfix(clock, capsys):
    with progress(4, "reading", "file") as bar:
        clock.now += 2
        bar.postfix(loss=1.23456, split="train")
        bar.update(3)
    assert capsys.readouterr().err == ("reading: 3/4 file (75%), 1.5 file/s, 0:01 left, loss=1.235, split=train\n")


def test_a_resumed_count_goes_on_and_rates_new_units_only(clock, capsys):
    seen = []
    for step in progress(10, "training", "step", done=8):
        seen.append(step)
        clock.now += 4
    assert seen == [8, 9]
    assert capsys.readouterr().err.splitlines() == [
        "training: 9/10 step (90%), 0.25 step/s, 0:04 left",
        "training: 10/10 step (100%), 0.25 step/s, 0:08 spent",
    ]


def test_an_iterable_without_length_has_no_time_left(clock, capsys):
    for _ in progress((letter for letter in "abc"), "reading", "letter"):
        clock.now += 4000
    assert capsys.readouterr().err.splitlines()[-1] == "reading: 3 letter, 0.00025 letter/s, 3:20:00 spent"


def test_the_items_come_through_and_a_break_still_ends_the_count(clock, capsys):
    bar = progress(["a", "b", "c"], "reading", "letter")
    iterator = iter(bar)
    assert [next(iterator), next(iterator)] == ["a", "b"]
    iterator.close()  # type: ignore[attr-defined]
    bar.close()
    assert capsys.readouterr().err.startswith("reading: 1/3 letter (33%)")


def test_other_ranks_are_silent(clock, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    for _ in progress(3, "training", "step"):
        clock.now += 20
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress(3, "training", "step")
    for _ in bar:
        bar.postfix(loss=0.5)
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert "training: 100%" in last
    assert "3/3" in last
    assert "loss=0.5" in last
