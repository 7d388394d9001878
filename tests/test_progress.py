from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from nucdet import progress
from nucdet.progress import PERIOD, ProgressBar


class Screen(io.StringIO):
    """Where stderr goes while a test's bar is open; a terminal or not."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def screen():
    return Screen()


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_in_30_seconds(screen, clock):
    with redirect_stderr(screen):
        for _ in ProgressBar(range(100), "converting"):
            clock[0] += PERIOD / 10
    assert screen.getvalue().splitlines() == [
        f"converting: {n} of 100 images, {so_far} so far, about {left} left"
        for n, so_far, left in (
            (10, "00:30", "04:30"),
            (20, "01:00", "04:00"),
            (30, "01:30", "03:30"),
            (40, "02:00", "03:00"),
            (50, "02:30", "02:30"),
            (60, "03:00", "02:00"),
            (70, "03:30", "01:30"),
            (80, "04:00", "01:00"),
            (90, "04:30", "00:30"),
            (100, "05:00", "00:00"),
        )
    ]


def test_notes_are_lines_too_where_one_step_takes_long(screen, clock):
    with redirect_stderr(screen), ProgressBar(name="predicting", total=2) as bar:
        for tile in range(5):
            clock[0] += 20
            bar.note(f"a.tif: tile {tile + 1} of 5")
    assert screen.getvalue().splitlines() == [
        "predicting: 0 of 2 images, 00:40 so far, a.tif: tile 2 of 5",
        "predicting: 0 of 2 images, 01:20 so far, a.tif: tile 4 of 5",
    ]


def test_lines_and_bar_know_of_what_is_found_on_the_way(screen, clock):
    with redirect_stderr(screen), ProgressBar(name="predicting", total=2) as bar:
        bar.grow(9)
        clock[0] += PERIOD
        bar.update()
    assert screen.getvalue() == "predicting: 1 of 11 images, 00:30 so far, about 05:00 left\n"
    screen.terminal = True
    with redirect_stderr(screen), ProgressBar(name="predicting", total=2) as bar:
        bar.grow(9)
    assert "0/11" in screen.getvalue()


def test_bytes_are_counted_in_megabytes_and_what_was_reached_stays(screen, clock):
    with redirect_stderr(screen), ProgressBar(name="reading", total=10_000_000, unit="B") as bar:
        bar.reach(5_000_000)
        clock[0] += PERIOD
        bar.reach(4_000_000)
    assert screen.getvalue() == "reading: 5 of 10 MB, 00:30 so far, about 00:30 left\n"


def test_a_terminal_gets_a_bar_and_another_process_nothing(screen, clock):
    screen.terminal = True
    with redirect_stderr(screen):
        for _ in ProgressBar(["a", "b"], "drawing", unit="file", show=False):
            clock[0] += PERIOD
        assert not screen.getvalue()
        for _ in ProgressBar(["a", "b"], "drawing", unit="file"):
            clock[0] += PERIOD
    assert "\rdrawing: 100%" in screen.getvalue() and "so far" not in screen.getvalue()
