"""Memory of the executors' hosts: how much is taken by what runs there, and who still has room."""

from __future__ import annotations

from spraycc.scheduler.tasks import Task

#: So much of a host's memory is for tasks; the rest is for its system, and for what expectations don't know.
_SHARE = 0.9
#: What ran out of memory is believed to use so much more than there was room for.
_MORE = 1.25


class Host:
    """What executors share the memory of: a host, or a part of it that a batch job is confined to.

    Two accounts, and the worse one counts. The first is of expectations alone, as what runs may still be growing; the
    second begins with what the host last said, for all the others that use it.
    """

    __slots__ = ("_available", "_running", "_since", "_taken", "executors", "total_bytes")

    def __init__(self, total_bytes: int) -> None:
        #: connected executors on it
        self.executors = 0
        #: 0 where it is not known
        self.total_bytes = int(total_bytes * _SHARE)
        #: attempts on it
        self._running = 0
        #: what those are expected to use at most
        self._taken = 0
        #: as it last said; None before
        self._available: int | None = None
        #: expected of the attempts that began since then
        self._since = 0

    @property
    def room(self) -> int:
        """Memory for one more task."""
        room = self.total_bytes - self._taken
        return room if self._available is None else min(room, self._available - self._since)

    def has_room(self, task: Task) -> bool:
        """Whether the task may begin here now. An empty host takes every task, but for one that ran out of as much."""
        if not (task.is_heavy or task.starved) or not self.total_bytes:
            return True
        if not self._running:
            return not task.starved or self.could_take(task)
        return self.room >= task.memory_bytes

    def could_take(self, task: Task) -> bool:
        """Whether the task may begin here when nothing else runs here."""
        return not self.total_bytes or self.total_bytes >= task.memory_bytes

    def begin(self, memory_bytes: int) -> None:
        self._running += 1
        self._taken += memory_bytes
        self._since += memory_bytes

    def end(self, memory_bytes: int) -> None:
        self._running -= 1
        self._taken -= memory_bytes
        assert self._running >= 0
        assert self._taken >= 0

    def report(self, available_bytes: int) -> None:
        self._available = available_bytes
        self._since = 0

    def validate(self, taken: list[int]) -> None:
        """Asserts that what the busy executors on it were given is what it has given."""
        assert (self._running, self._taken) == (len(taken), sum(taken))
        assert self._since >= 0


def starve(task: Task, room_bytes: int) -> None:
    """It ran out of memory where there was so much room for it (0: nobody knows)."""
    task.memory_bytes = max(task.memory_bytes, int(room_bytes * _MORE))
    task.starved = True
