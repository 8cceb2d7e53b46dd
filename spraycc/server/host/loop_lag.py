"""How long the server's event loop keeps a peer waiting: the lengths of its turns.

A turn is the work between two polls for input. Input that arrives during a turn waits for its end. Each turn is
measured by two clock readings; no timer wakes the server for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

#: The figures cover at least the last period, and at most the last two.
PERIOD_S = 60.0
#: Classes of lengths for each doubling.
_PARTS = 4
#: Lengths are sorted into classes in batches of this many. A turn is often shorter than the sorting.
_BATCH = 1024


class LoopLag(trio.abc.Instrument):
    """Counts the time spent in turns, by classes of their length."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        #: when the current turn began, and when the current period began
        self._began = self._period_began = clock()
        #: lengths in seconds that are in no class yet
        self._turns: list[float] = []
        #: microseconds spent in turns of each class, in this period and in the last one
        self._spent: dict[int, int] = {}
        self._spent_before: dict[int, int] = {}
        self._longest = self._longest_before = 0

    def after_io_wait(self, timeout: float) -> None:
        self._began = self._clock()

    def before_io_wait(self, timeout: float) -> None:
        now = self._clock()
        turns = self._turns
        turns.append(now - self._began)
        if now - self._period_began > PERIOD_S:
            self._classify()
            self._spent_before, self._spent = self._spent, {}
            self._longest_before, self._longest = self._longest, 0
            self._period_began = now
        elif len(turns) == _BATCH:
            self._classify()

    def _classify(self) -> None:
        """Sort the collected lengths into classes."""
        for seconds in self._turns:
            length = int(seconds * 1e6)
            kind = class_of(length)
            self._spent[kind] = self._spent.get(kind, 0) + length
        self._longest = max(self._longest, int(max(self._turns, default=0.0) * 1e6))
        self._turns.clear()

    def figures(self) -> dict[str, float]:
        """The figures of the last minute or two. Of the input that arrives during turns, 99 % waits at most ``p99``."""
        self._classify()
        spent = dict(self._spent_before)
        for kind, length in self._spent.items():
            spent[kind] = spent.get(kind, 0) + length
        longest = max(self._longest, self._longest_before)
        left = 0.99 * sum(spent.values())
        p99 = 0
        for kind in sorted(spent):
            left -= spent[kind]
            p99 = min(upper_bound(kind), longest)
            if left <= 0:
                break
        return {"p99_ms": p99 / 1e3, "longest_ms": longest / 1e3}


def class_of(length: int) -> int:
    """The class of a length in microseconds."""
    length = max(_PARTS, length)
    size = length.bit_length() - 1
    return size * _PARTS + (length >> (size - 2) & 3)


def upper_bound(kind: int) -> int:
    """The longest length of a class."""
    size, part = divmod(kind, _PARTS)
    return ((part + _PARTS + 1) << (size - 2)) - 1
