"""The summary line, word by word."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.ui.summary import counted, size, span, summary_line


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        ({}, "no tasks in 0.0 s"),
        ({"wall_s": 0.33}, "no tasks in 0.3 s"),
        ({"tasks": 1, "local": 1, "wall_s": 0.25}, "1 task in 0.2 s: 1 on this host"),
        (
            {
                "tasks": 1284, "remote": 1240, "local": 44, "wall_s": 61.0, "cpu_s_remote": 3480.0, "run_s": 4270.0,
                "executors_peak": 96, "failed": 0, "retried": 0,
            },
            "1,284 tasks in 61 s: 1,240 on 96 executors, 44 on this host; 58 min of CPU, 70 at once on average",
        ),
        (
            {"tasks": 1, "remote": 1, "wall_s": 2.0, "cpu_s_remote": 1.5, "run_s": 1.6, "executors_peak": 1},
            "1 task in 2.0 s: 1 on 1 executor; 1.5 s of CPU, 0.8 at once on average",
        ),
        (
            {
                "tasks": 9, "remote": 5, "local": 1, "wall_s": 10.0, "cpu_s_remote": 20.0, "run_s": 45.0, "executors_peak": 4,
                "failed": 1, "retried": 1200, "stale": 3, "cancelled": 3, "second": 2, "second_won": 1,
            },
            "9 tasks in 10 s: 5 on 4 executors, 1 on this host; "
            "1 failed, 1,200 attempts repeated (3 because a host saw old files), 3 cancelled, 2 second attempts (1 won); "
            "20 s of CPU, 4.5 at once on average",
        ),
        (
            {"tasks": 1, "remote": 1, "wall_s": 20.0, "cpu_s_remote": 0.5, "run_s": 1.5, "executors_peak": 2},
            "1 task in 20 s: 1 on 1 executor; 0.5 s of CPU",
        ),
        ({"tasks": 2, "remote": 2}, "2 tasks in 0.0 s: 2 on executors"),
        ({"tasks": 3, "cancelled": 3, "wall_s": 1.0}, "3 tasks in 1.0 s; 3 cancelled"),
    ],
)  # fmt: skip
def test_summary_line(figures: dict[str, Any], line: str) -> None:
    assert summary_line(figures) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (119.6, "1 min 59 s"),
        (125.0, "2 min 5 s"),
        (599.0, "10 min"),
        (3480.0, "58 min"),
        (3599.0, "1 h 0 min"),
        (7500.0, "2 h 5 min"),
        (3_700_000.0, "1,027 h 47 min"),
    ],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 tasks"), (1, "1 task"), (2000, "2,000 tasks")])
def test_counted(count: int, text: str) -> None:
    assert counted(count, "task") == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_400_000, "12.4 MB"),
        (999_999, "1.0 MB"),
        (10**18, "1000000.0 TB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text
