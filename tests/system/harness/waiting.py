"""Waiting for a condition, with a limit that exists only against a hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds after which a test has hung. Only a hang reaches it, on a machine ten times slower than a laptop as well: no
#: test may depend on its value.
HANG_S = 240.0

#: Seconds for a build that keeps a laptop busy for minutes.
LONG_HANG_S = 1800.0


def wait_until(
    condition: Callable[[], T], what: str = "", describe: Callable[[], str] = str, timeout_s: float = HANG_S
) -> T:
    """Returns the condition's first true value; where it never comes, fails the test and names what it has waited for."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"after {timeout_s} s still not: {what or condition}\n{describe()}"
        time.sleep(0.01)
    return value
