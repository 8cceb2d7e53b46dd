"""Stragglers: tasks that run for far longer than expected. They get a second attempt while executors idle."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heappush

from spraycc.model import TaskId
from spraycc.scheduler.executor_pool import Executor, ExecutorPool
from spraycc.scheduler.tasks import ScheduledTask

#: Late tasks that are considered for one idle executor.
_LOOK_AHEAD = 8
#: A task is late after at most this many times its ``late_s``.
_MOST_PATIENCE = 16.0


class Stragglers:
    """The tasks that may become late. A task's entry is valid while ``ScheduledTask.late_at`` is the entry's time."""

    def __init__(self) -> None:
        #: heap of (``late_at``, number, task), with some entries that are no longer valid
        self._upcoming: list[tuple[float, int, ScheduledTask]] = []
        #: the late tasks in order, with some entries that are no longer valid
        self._late: dict[TaskId, tuple[float, ScheduledTask]] = {}
        #: above this length ``_upcoming`` is cleared of entries that are no longer valid
        self._most = _LOOK_AHEAD
        #: factor on ``late_s``. Each second attempt that loses doubles it: the host is slow then, not the executor.
        self._patience = 1.0

    def watch(self, task: ScheduledTask, now: float, late_s: float) -> None:
        """The task's only attempt begins now; tasks like it take at most ``late_s``."""
        task.late_at = late_at = now + late_s * self._patience
        heappush(self._upcoming, (late_at, task.number, task))
        if len(self._upcoming) > self._most:
            self._upcoming = [entry for entry in self._upcoming if entry[2].late_at == entry[0]]
            heapify(self._upcoming)
            self._most = 2 * len(self._upcoming) + _LOOK_AHEAD

    def learn(self, *, won: bool) -> None:
        """One of two attempts is done; ``won``: it was the second attempt."""
        self._patience = 1.0 if won else min(2 * self._patience, _MOST_PATIENCE)

    def next_at(self) -> float | None:
        """The time when the next task becomes late; None without a watched task."""
        upcoming = self._upcoming
        while upcoming and upcoming[0][2].late_at != upcoming[0][0]:
            heappop(upcoming)
        return upcoming[0][0] if upcoming else None

    def match(self, pool: ExecutorPool, now: float, max_attempts: int) -> tuple[ScheduledTask, Executor] | None:
        """A late task and an idle executor for its second attempt."""
        for task in self._first_late(now):
            executor = pool.idle_for_second(task) if task.tries < max_attempts else None
            if executor is not None:
                return task, executor
        return None

    def _first_late(self, now: float) -> Iterator[ScheduledTask]:
        while (at := self.next_at()) is not None and at <= now:
            task = heappop(self._upcoming)[2]
            self._late[task.id] = (at, task)
        for task_id in [task_id for task_id, (at, task) in self._late.items() if task.late_at != at]:
            del self._late[task_id]
        yield from [task for _, task in list(self._late.values())[:_LOOK_AHEAD]]

    def validate(self, tasks: Collection[ScheduledTask]) -> None:
        """Assert that every task with a ``late_at`` has an entry."""
        entries = {(task.id, at) for at, _, task in self._upcoming}
        entries |= {(task.id, at) for at, task in self._late.values()}
        assert {(task.id, task.late_at) for task in tasks if task.late_at is not None} <= entries
