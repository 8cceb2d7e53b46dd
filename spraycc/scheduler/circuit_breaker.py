"""The circuit breaker of a build: after too many failures on executors, the build's tasks run on the submit host."""

from __future__ import annotations

from collections import deque

#: The breaker counts this many of the last results.
WINDOW = 100


class CircuitBreaker:
    """The last :data:`WINDOW` results of one build. A task counts once: when it is done or falls back."""

    __slots__ = ("_results", "fell_back", "tripped")

    def __init__(self) -> None:
        self._results: deque[bool] = deque(maxlen=WINDOW)
        #: results in the window that fell back: tried on executors, and run on the submit host after all
        self.fell_back = 0
        #: the build's tasks no longer go to executors; final
        self.tripped = False

    def note(self, *, fell_back: bool) -> None:
        """Take in one result; the oldest result beyond the window is forgotten."""
        if len(self._results) == WINDOW:
            self.fell_back -= self._results[0]
        self._results.append(fell_back)
        self.fell_back += fell_back

    def trip(self, limit: int) -> bool:
        """Trip if more than ``limit`` results fell back. True the first time."""
        if self.tripped or self.fell_back <= limit:
            return False
        self.tripped = True
        return True

    def validate(self) -> None:
        assert self.fell_back == sum(self._results)
