"""The build's tail: tasks that run for far longer than was expected, while executors idle."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from spraycc.model import TaskId
from spraycc.scheduler.tasks import Task

#: Late tasks that are looked at for one that an idle executor suits.
_LOOK_AHEAD = 8
#: Tasks count as late after so many times their ``late_s``, at most.
_MOST_PATIENCE = 16.0


class Tail:
    """Who is late. A task is in it from its dispatch until ``Task.late_at`` is None again, or another."""

    def __init__(self) -> None:
        #: (``late_at``, number, task), and some that are not valid any more
        self._upcoming: list[tuple[float, int, Task]] = []
        #: those whose time has come, the first first, and some that are not valid any more
        self._late: dict[TaskId, tuple[float, Task]] = {}
        #: with more upcoming ones it is time to drop those that are not valid
        self._most = _LOOK_AHEAD
        #: Where second attempts don't win, the host is slow and not the executor: each one that loses doubles the wait.
        self._patience = 1.0

    def watch(self, task: Task, now: float, late_s: float) -> None:
        """It begins now, and takes so long at most, as tasks of its kind go."""
        task.late_at = late_at = now + late_s * self._patience
        heappush(self._upcoming, (late_at, task.number, task))
        if len(self._upcoming) > self._most:
            self._upcoming = [entry for entry in self._upcoming if entry[2].late_at == entry[0]]
            heapify(self._upcoming)
            self._most = 2 * len(self._upcoming) + _LOOK_AHEAD

    def learn(self, *, won: bool) -> None:
        """Of two attempts the second one was the faster, or not."""
        self._patience = 1.0 if won else min(2 * self._patience, _MOST_PATIENCE)

    def next_at(self) -> float | None:
        """When the next one will be late."""
        upcoming = self._upcoming
        while upcoming and upcoming[0][2].late_at != upcoming[0][0]:
            heappop(upcoming)
        return upcoming[0][0] if upcoming else None

    def late(self, now: float) -> Iterator[Task]:
        """The first of those that are late."""
        while (at := self.next_at()) is not None and at <= now:
            task = heappop(self._upcoming)[2]
            self._late[task.id] = (at, task)
        for task_id in [task_id for task_id, (at, task) in self._late.items() if task.late_at != at]:
            del self._late[task_id]
        yield from [task for _, task in list(self._late.values())[:_LOOK_AHEAD]]
