"""How long a turn of the server's event loop makes others wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.server.host.loop_lag import PERIOD_S, LoopLag, class_of, upper_bound


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lag_of(turns: list[float]) -> tuple[LoopLag, Clock]:
    """The measurement and the clock of a loop that had these turns (seconds), each after a millisecond of idle time."""
    clock = Clock()
    lag = LoopLag(clock)
    for turn in turns:
        clock.now += 0.001
        lag.after_io_wait(1.0)
        clock.now += turn
        lag.before_io_wait(1.0)
    return lag, clock


@given(st.integers(0, 10**9))
def test_a_class_is_a_fifth_wide_at_most_and_holds_what_is_in_it(length: int) -> None:
    bound = upper_bound(class_of(length))
    assert length <= bound <= max(4, length * 1.25)
    assert class_of(bound) == class_of(length)


def test_idle_time_is_no_lag() -> None:
    assert lag_of([0.0001] * 5)[0].figures()["longest_ms"] == pytest.approx(0.1, abs=0.002)


def test_turns_count_by_their_length() -> None:
    # Half of the time is spent in one turn, so half of all requests arrive during that turn.
    figures = lag_of([0.001] * 200 + [0.2])[0].figures()
    assert figures["p99_ms"] == figures["longest_ms"] == pytest.approx(200, rel=0.01)


def test_what_is_rare_is_not_in_the_p99() -> None:
    figures = lag_of([0.001] * 2000 + [0.015])[0].figures()
    assert figures["p99_ms"] == pytest.approx(1, rel=0.3)
    assert figures["longest_ms"] == pytest.approx(15, rel=0.01)


def test_what_is_long_ago_is_forgotten() -> None:
    lag, clock = lag_of([0.5])
    for _ in range(3):
        clock.now += PERIOD_S + 1
        lag.after_io_wait(0.0)
        lag.before_io_wait(0.0)
    assert lag.figures()["longest_ms"] == 0


def test_nothing_is_known_at_first() -> None:
    assert LoopLag(Clock()).figures() == {"p99_ms": 0.0, "longest_ms": 0.0}
