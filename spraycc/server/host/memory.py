"""How many more memory-hungry processes the submit host has room for."""

from __future__ import annotations

from collections import deque

import trio

from spraycc.system.memory import Memory

#: A process has reached its size after this time. Until then it counts with its expected size.
GROWS_S = 2.0
#: More processes than any quota allows.
PLENTY = 1 << 20


class MemoryRoom:
    """How many more memory-hungry processes this host has room for."""

    def __init__(self) -> None:
        #: start times of the processes that have not reached their size yet
        self._young: deque[float] = deque()

    def begins(self) -> None:
        """A process begins."""
        self._young.append(trio.current_time())

    def measure(self, size_bytes: int) -> tuple[int, int | None]:
        """The number of further processes of this size, and the free memory. Size 0: not known, so ``PLENTY``."""
        grown = trio.current_time() - GROWS_S
        while self._young and self._young[0] < grown:
            self._young.popleft()
        available = Memory.explore().available_bytes()
        room = PLENTY
        if size_bytes and available is not None:
            room = max(0, available // size_bytes - len(self._young))
        return room, available
