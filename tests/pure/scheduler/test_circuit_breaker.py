"""The limit of fallbacks after which no more tasks of a build go to executors."""

from __future__ import annotations

import pytest

from spraycc.scheduler.circuit_breaker import WINDOW, CircuitBreaker


@pytest.mark.parametrize(
    ("results", "limit", "fell_back", "trips"),
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
def test_circuit_breaker(results: str, limit: int, fell_back: int, trips: bool) -> None:
    """``+`` is a task that an executor has done, ``-`` a task that fell back."""
    breaker = CircuitBreaker()
    for result in results:
        breaker.note(fell_back=result == "-")
        breaker.validate()
    assert breaker.fell_back == fell_back
    assert breaker.trip(limit) is trips
    assert breaker.tripped is trips


def test_a_circuit_breaker_trips_once_and_for_all() -> None:
    breaker = CircuitBreaker()
    breaker.note(fell_back=True)
    assert breaker.trip(0)
    for _ in range(WINDOW):
        breaker.note(fell_back=False)
    assert not breaker.trip(0)
    assert breaker.tripped
