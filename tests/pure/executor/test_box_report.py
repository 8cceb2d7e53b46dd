"""The box's report: every line that it can write, and what is left of it when the box dies."""

from __future__ import annotations

import signal

import pytest

from spraycc.executor.box import Ended, NotStarted, parse_report


@pytest.mark.parametrize(
    ("report", "meaning"),
    [
        (b"ended 3 0 1500000 250000 7\n", Ended(3, 0, 1.5, 0.25, 7 * 1024)),
        (b"ended 0 11 0 0 0\nkept\n", Ended(0, 11, 0.0, 0.0, 0, kept=True)),
        (b"setup overlay 22\n", NotStarted("overlay", 22)),
        (b"exec 2\n", NotStarted("exec", 2)),
        (b"", Ended(0, signal.SIGKILL, 0.0, 0.0, 0)),
        (b"ended 0 0 0 0 0\nke", Ended(0, signal.SIGKILL, 0.0, 0.0, 0)),
        (b"ended 0 0 0\nkept\n", Ended(0, signal.SIGKILL, 0.0, 0.0, 0)),
        (b"kept\n", Ended(0, signal.SIGKILL, 0.0, 0.0, 0)),
    ],
)
def test_reports(report, meaning):
    assert parse_report(report) == meaning
