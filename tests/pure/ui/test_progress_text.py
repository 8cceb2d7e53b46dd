"""The texts of a build's progress, by width and by what is known."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.ui.progress_text import clock, line, percent, plain

BUSY: dict[str, Any] = {
    "done": 475, "expected": 1284, "rest_s": 250, "running": 94, "executors": 96, "asked": 4, "waiting": 5, "here": 2,
    "failed": 1, "pending": {"batch_jobs": 4, "reason": "Resources", "age_s": 30},
}  # fmt: skip


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (200, "spraycc: 475 of 1,284 tasks (36 %), 94 running on 96 executors, 5 waiting, 2 on this host, 1 failed, 1:23, about 4:10 left, 4 of 100 executors pending: Resources"),
        (140, "spraycc: 475/1,284 (36 %), 94 on 96 executors, 5 waiting, 2 here, 1 failed, 1:23, about 4:10 left, 4 of 100 executors pending: Resources"),
        (120, "spraycc: 475/1,284 (36 %), 94 on 96 executors, 5 waiting, 2 here, 1 failed, 1:23, ~4:10 left, 4 of 100 executors pending"),
        (100, "spraycc: 475/1,284 (36 %), 94 on 96 executors, 5 waiting, 1 failed, 1:23, ~4:10 left, 4 pending"),
        (80, "spraycc: 475/1,284 (36 %), 94/96, 1 failed, 1:23, ~4:10 left, 4 pending"),
        (60, "spraycc: 475/1,284 (36 %), 94/96, 1 failed, 1:23, ~4:10 left"),
        (40, "spraycc: 475/1,284 (36 %), 1:23"),
        (20, "spraycc: 36 %, 1:23"),
        (8, "spraycc:"),
        (0, ""),
    ],
)  # fmt: skip
def test_a_line_is_as_long_as_the_terminal_is_wide(width: int, text: str) -> None:
    assert line(BUSY, 83, width) == text


def test_no_line_is_longer_than_the_width() -> None:
    for width in range(200):
        assert len(line(BUSY, 83, width)) <= width


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({}, "no task done yet, 0:03"),
        ({"done": 1}, "1 task done, 0:03"),
        ({"done": 1000, "running": 1, "executors": 1}, "1,000 tasks done, 1 running on 1 executor, 0:03"),
        ({"done": 1, "expected": 1, "rest_s": 0}, "1 of 1 task (100 %), 0:03, about 0:00 left"),
        ({"done": 12, "expected": 10}, "12 of 10 tasks (100 %), 0:03"),
        ({"here": 2, "waiting": 7}, "no task done yet, 7 waiting, 2 on this host, 0:03"),
        ({"asked": 100, "pending": None}, "no task done yet, 0:03"),
        ({"asked": 1, "pending": {"reason": ""}}, "no task done yet, 0:03, 1 of 1 executor pending"),
        (
            {"asked": 94, "executors": 6, "running": 6, "pending": {"reason": "Priority", "batch_jobs": 94}},
            "no task done yet, 6 running on 6 executors, 0:03, 94 of 100 executors pending: Priority",
        ),
        ({"done": "many", "expected": None, "rest_s": None, "pending": None}, "no task done yet, 0:03"),
    ],
)
def test_a_line_says_what_is_known(figures: dict[str, Any], text: str) -> None:
    assert plain(figures, 3.9) == text
    assert line(figures, 3.9, 200) == f"spraycc: {text}"


def test_a_share_is_known_if_a_number_is_expected() -> None:
    assert percent(BUSY) == 36
    assert percent({"done": 5, "expected": None}) is None
    assert percent({"done": 5, "expected": 0}) is None
    assert percent({"done": 11, "expected": 10}) == 100


def test_times() -> None:
    assert [clock(s) for s in (-1, 0, 7.9, 185, 7385)] == ["0:00", "0:00", "0:07", "3:05", "2:03:05"]
