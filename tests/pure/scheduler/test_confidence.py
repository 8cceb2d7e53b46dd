"""When a build's executors are not trusted with it any more."""

from __future__ import annotations

import pytest

from spraycc.scheduler.circuit_breaker import WINDOW, Confidence


@pytest.mark.parametrize(
    ("results", "limit", "fallen", "lost"),
    [
        ("", 30, 0, False),
        ("-" * 30, 30, 30, False),
        ("-" * 31, 30, 31, True),
        ("-", 0, 1, True),
        ("+" * 200, 0, 0, False),
        ("-" * 31 + "+" * 69, 30, 31, True),
        ("-" * 31 + "+" * 70, 30, 30, False),  # the first is beyond the window
        ("-" * WINDOW, 100, 100, False),
        ("+-" * 50, 49, 50, True),
        ("-" * 200, 100, 100, False),
    ],
)
def test_confidence(results: str, limit: int, fallen: int, lost: bool) -> None:
    """``+`` is a task that was done by an executor, ``-`` one that was tried there and ran here."""
    confidence = Confidence()
    for result in results:
        confidence.note(fell_back=result == "-")
    assert confidence.fallen == fallen
    assert confidence.is_lost(limit) is lost
