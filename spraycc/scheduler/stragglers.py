"""Stragglers: tasks that run for far longer than expected. They get a second attempt that is likely to win.

A second attempt costs the cluster as much CPU as the first. It wins only if the first attempt's rest is longer than a
whole attempt elsewhere. Three things make an attempt long:

* The host is slow, as other tasks on the host have shown (:mod:`.pace`). Then the attempt's rest is known.
* All hosts are slow, or durations vary a lot. Then another executor is no better, and the task counts as late later.
* Nothing explains the attempt's time: the process or the host hangs. Such an attempt is expected to last as long again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heappush

from spraycc.model import TaskId
from spraycc.scheduler.executor_pool import Executor, ExecutorPool
from spraycc.scheduler.pace import Pace
from spraycc.scheduler.tasks import ScheduledTask

#: Late tasks that are considered for one idle executor.
_LOOK_AHEAD = 8
#: A task is late after at most this many times its ``late_s``.
_MOST_PATIENCE = 16.0
#: A second attempt on the same host helps only if the first one's process hangs. That is sure after this many times the
#: duration that would show a slow executor.
_SAME_HOST = 4.0
#: A host that takes this many times as long as all hosts together is slow.
_SLOW = 2.0
#: No attempt is late before this time.
_LEAST_LATE_S = 1.0
#: The first attempt's rest on a slow host must be this many times as long as a whole attempt on the other host.
_GAIN = 1.25
#: While a second attempt is not likely to win, the task is looked at again after this time, or a quarter of its age.
_LOOK_AGAIN_S = 1.0
#: A shorter wait is none: the sum of two times may be rounded.
_LEAST_WAIT_S = 0.001
#: ``late_s`` is at least this many times the duration that 95 of 100 attempts do not exceed.
_LATE_FACTOR = 2.0


class Stragglers:
    """The tasks that may become late. A task's entry is valid while ``ScheduledTask.late_at`` is the entry's time."""

    def __init__(self) -> None:
        #: heap of (``late_at``, number, task), with some entries that are no longer valid
        self._upcoming: list[tuple[float, int, ScheduledTask]] = []
        #: the late tasks in order, with some entries that are no longer valid
        self._late: dict[TaskId, tuple[float, ScheduledTask]] = {}
        #: above this length ``_upcoming`` is cleared of entries that are no longer valid
        self._most = _LOOK_AHEAD
        #: factor on the time that shows a slow executor. Each second attempt that loses doubles it.
        self._patience = 1.0
        self.pace = Pace()

    def watch(self, task: ScheduledTask, executor: Executor, now: float) -> None:
        """The task's only attempt begins now on the executor."""
        late_s, overall = self._late_s(task), max(1.0, self.pace.overall)
        if self.pace.of(executor.host) >= _SLOW * overall:
            # Another host would be done by then.
            late_s = min(late_s, task.expected.seconds * overall)
        self._look_at(task, now + max(late_s, _LEAST_LATE_S))

    def _late_s(self, task: ScheduledTask) -> float:
        assert task.expected.late_s is not None
        return task.expected.late_s * max(1.0, self.pace.overall)

    def _look_at(self, task: ScheduledTask, late_at: float) -> None:
        task.late_at = late_at
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
        """A late task and an idle executor for its second attempt, which is likely to win."""
        for task in self._first_late(now):
            executor = pool.idle_for_second(task, self.pace.of) if task.tries < max_attempts else None
            if executor is None:
                continue
            first = pool.executors[task.executors[0]]
            elapsed_s = now - first.began
            wait_s = self._wait_s(task, first, executor, elapsed_s)
            if wait_s < _LEAST_WAIT_S:
                return task, executor
            # A better executor may be idle before that.
            self._look_at(task, now + min(wait_s, max(_LOOK_AGAIN_S, elapsed_s / 4)))
        return None

    def _wait_s(self, task: ScheduledTask, first: Executor, other: Executor, elapsed_s: float) -> float:
        """Seconds until a second attempt on ``other`` is likely to win, if the first one still runs; 0: it is now."""
        assert task.expected.late_s is not None
        pace, is_same_host = self.pace, first.memory is other.memory
        usual_s = task.expected.seconds * pace.of(first.host)
        there = pace.of(other.host)
        likely_s, second_s = task.expected.seconds * there, task.expected.late_s / _LATE_FACTOR * there
        if usual_s - elapsed_s >= likely_s * _GAIN * self._patience and not is_same_host:
            return 0.0  # the first attempt's host is slow
        unusual_s = max(self._late_s(task) * self._patience, usual_s * pace.chance)
        if is_same_host:
            unusual_s *= _SAME_HOST
        return max(0.0, unusual_s - elapsed_s, second_s - elapsed_s)

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
