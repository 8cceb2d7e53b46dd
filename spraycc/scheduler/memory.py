"""Memory of the executors' hosts: the memory that running tasks take, and the room for another task."""

from __future__ import annotations

from spraycc.scheduler.tasks import ScheduledTask

#: Tasks may use this share of a host's memory. The rest is for its system and for errors of expectations.
_SHARE = 0.9


class HostMemory:
    """The memory that executors share: a host's, or that of the control group that confines a batch job.

    Or the memory that the compile slots of the submit host share.

    There are two accounts, and the worse one counts. The first adds up expectations, because running tasks may still be
    growing. The second starts from the host's last report, which includes everything else that runs on the host.
    """

    __slots__ = ("_available", "_running", "_since", "_taken", "executors", "total_bytes")

    def __init__(self, total_bytes: int) -> None:
        #: connected executors on the host
        self.executors = 0
        #: for tasks; 0 if not known
        self.total_bytes = 0
        self.resize(total_bytes)
        #: attempts on the host
        self._running = 0
        #: the most memory that these attempts are expected to use, in bytes
        self._taken = 0
        #: free memory in the last report; None before the first
        self._available: int | None = None
        #: the most memory that attempts that began since that report are expected to use, in bytes
        self._since = 0

    def resize(self, total_bytes: int) -> None:
        """Set the memory in all; 0 if not known. Running tasks keep theirs."""
        self.total_bytes = int(total_bytes * _SHARE)

    @property
    def room(self) -> int:
        """Memory for one more task."""
        room = self.total_bytes - self._taken
        return room if self._available is None else min(room, self._available - self._since)

    def has_room(self, task: ScheduledTask) -> bool:
        """True if the task may start on the host now.

        An empty host takes every task, except a task that ran out of that much memory before.
        """
        if not (task.is_memory_hungry or task.out_of_memory) or not self.total_bytes:
            return True
        if not self._running:
            return not task.out_of_memory or self.could_take(task)
        return self.room >= task.memory_bytes

    def could_take(self, task: ScheduledTask) -> bool:
        """True if the task may start on the host while no other task runs on it."""
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
        """Assert that the accounts agree with the memory that the host's busy executors were given."""
        assert (self._running, self._taken) == (len(taken), sum(taken))
        assert self._since >= 0
