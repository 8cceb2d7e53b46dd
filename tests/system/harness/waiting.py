"""Waiting for a condition, with a limit that exists only against a hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds after which a test has hung. Only a hang takes so long, even on a machine ten times slower than a laptop. No test
#: may depend on the value.
HANG_S = 240.0

#: Seconds for a build that keeps a laptop busy for minutes.
LONG_HANG_S = 1800.0


def wait_until(
    condition: Callable[[], T], what: str = "", describe: Callable[[], str] = str, timeout_s: float = HANG_S
) -> T:
    """Returns the condition's first true value. If there is none in time, fails the test with ``what`` in the message."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"after {timeout_s} s still not: {what or condition}\n{describe()}"
        time.sleep(0.01)
    return value
