"""Whether a build's tasks should still be sent to executors, judged by how the last ones fared there."""

from __future__ import annotations

from collections import deque

#: So many of the last results are looked at.
WINDOW = 100


class Confidence:
    """The last :data:`WINDOW` results of one build: each task counted once, when it is done or falls back."""

    __slots__ = ("_results", "fallen")

    def __init__(self) -> None:
        self._results: deque[bool] = deque(maxlen=WINDOW)
        #: how many of them fell back: meant for executors, tried there, and run here after all
        self.fallen = 0

    def note(self, *, fell_back: bool) -> None:
        """Take in one result; the oldest beyond the window is forgotten."""
        if len(self._results) == WINDOW:
            self.fallen -= self._results[0]
        self._results.append(fell_back)
        self.fallen += fell_back

    def is_lost(self, limit: int) -> bool:
        """More than ``limit`` fell back."""
        return self.fallen > limit
