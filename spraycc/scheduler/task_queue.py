"""The tasks that wait for an executor: finds the next task, and the idle executor for it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush

from spraycc.model import BuildId, TaskId
from spraycc.scheduler.executor_pool import Executor, ExecutorPool
from spraycc.scheduler.tasks import ScheduledBuild, ScheduledTask, TaskState

#: At most this many retried tasks are considered for the idle executors. If a host kills every task, the whole queue
#: is retried, and considering all tasks at each dispatch would be quadratic.
_LOOK_AHEAD = 8


def _key(task: ScheduledTask) -> tuple[int, float, int]:
    """Order within a line: tasks with ``in_front``, then the longest, then by arrival."""
    return (0 if task.in_front else 1, -task.expected.seconds, task.number)


class _Fresh:
    """Tasks that were never dispatched: the longest expected first, equals by arrival.

    A heap. A task that is removed from the middle stays until it comes to the top, or until half of the heap is removed
    tasks.
    """

    __slots__ = ("_heap", "tasks")

    def __init__(self) -> None:
        #: the tasks that are not removed
        self.tasks: dict[TaskId, ScheduledTask] = {}
        #: (minus seconds, number, task) of the tasks and of some removed tasks; numbers are unique
        self._heap: list[tuple[float, int, ScheduledTask]] = []

    def add(self, task: ScheduledTask) -> None:
        self.tasks[task.id] = task
        heappush(self._heap, (-task.expected.seconds, task.number, task))

    def remove(self, task: ScheduledTask) -> None:
        del self.tasks[task.id]
        heap, tasks = self._heap, self.tasks
        if len(heap) > 2 * len(tasks) + 16:
            self._heap = heap = [entry for entry in heap if entry[2].id in tasks]
            heapify(heap)
        while heap and heap[0][2].id not in tasks:
            heappop(heap)

    def first(self) -> ScheduledTask:
        return self._heap[0][2]


class _Line:
    """The queued tasks of one build, one priority and one need."""

    __slots__ = ("build", "fresh", "retried")

    def __init__(self, build: ScheduledBuild) -> None:
        self.build = build
        #: (must be remote, memory-hungry) -> tasks that were never dispatched; no value is empty. Tasks that need not
        #: be remote may run on the submit host. Others overtake a memory-hungry task that no host has room for.
        self.fresh: dict[tuple[bool, bool], _Fresh] = {}
        #: (:func:`_key`, task) of tasks that were dispatched before, sorted; few, unless the cluster is broken. They go
        #: before all others, because they have waited already.
        self.retried: list[tuple[tuple[int, float, int], ScheduledTask]] = []

    def __bool__(self) -> bool:
        return bool(self.fresh or self.retried)

    def __iter__(self) -> Iterator[ScheduledTask]:
        yield from (task for _, task in self.retried)
        for fresh in self.fresh.values():
            yield from fresh.tasks.values()

    def add(self, task: ScheduledTask) -> None:
        if task.attempts:
            insort(self.retried, (_key(task), task))  # numbers are unique: tasks are never compared
            return
        kind = (task.must_be_remote, task.is_memory_hungry)
        fresh = self.fresh.get(kind)
        if fresh is None:
            fresh = self.fresh[kind] = _Fresh()
        fresh.add(task)

    def remove(self, task: ScheduledTask) -> None:
        if task.attempts:
            index = bisect_left(self.retried, _key(task), key=lambda entry: entry[0])
            assert self.retried[index][1] is task
            del self.retried[index]
            return
        kind = (task.must_be_remote, task.is_memory_hungry)
        fresh = self.fresh[kind]
        fresh.remove(task)
        if not fresh.tasks:
            del self.fresh[kind]

    def candidates(self) -> list[ScheduledTask]:
        """The first tasks in order, as many as matter for the choice of an executor; at least one."""
        heads = [fresh.first() for fresh in self.fresh.values()]
        if len(heads) > 1:
            heads.sort(key=_key)
        return [task for _, task in self.retried[:_LOOK_AHEAD]] + heads if self.retried else heads

    def first_movable(self) -> ScheduledTask | None:
        """The first task that may run on the submit host."""
        for _, task in self.retried:
            if not task.must_be_remote:
                return task
        heads = [fresh.first() for (must_be_remote, _), fresh in self.fresh.items() if not must_be_remote]
        return min(heads, key=_key, default=None)


class TaskQueue:
    """The tasks in QUEUED: by priority, then the build with the smallest share, then the longest task.

    Adding and removing cost O(log n), and a memmove for retried tasks. Choosing costs O(b log b) in the number of
    *builds* with tasks of the best priority.
    """

    def __init__(self) -> None:
        #: priority -> (build, need) -> the line; no line is empty and no priority without lines
        self._classes: dict[int, dict[tuple[BuildId, str], _Line]] = {}
        #: the keys of ``_classes``, sorted
        self._priorities: list[int] = []
        #: all tasks
        self.size = 0
        #: tasks that may run on the submit host while no executor is connected
        self.movable = 0
        #: tasks that are expected to use much memory
        self.memory_hungry = 0
        #: tasks that ran out of memory
        self.out_of_memory: dict[TaskId, ScheduledTask] = {}

    def __iter__(self) -> Iterator[ScheduledTask]:
        for lines in self._classes.values():
            for line in lines.values():
                yield from line

    def add(self, task: ScheduledTask) -> None:
        lines = self._classes.get(task.priority)
        if lines is None:
            lines = self._classes[task.priority] = {}
            insort(self._priorities, task.priority)
        line = lines.get((task.build.id, task.needs))
        if line is None:
            line = lines[task.build.id, task.needs] = _Line(task.build)
        line.add(task)
        self.size += 1
        self.movable += not task.must_be_remote
        self.memory_hungry += task.is_memory_hungry
        if task.out_of_memory:
            self.out_of_memory[task.id] = task

    def remove(self, task: ScheduledTask) -> None:
        lines = self._classes[task.priority]
        line = lines[task.build.id, task.needs]
        line.remove(task)
        self.size -= 1
        self.movable -= not task.must_be_remote
        self.memory_hungry -= task.is_memory_hungry
        if task.out_of_memory:
            del self.out_of_memory[task.id]
        if not line:
            del lines[task.build.id, task.needs]
            if not lines:
                del self._classes[task.priority]
                self._priorities.remove(task.priority)

    def candidates(self) -> Iterator[ScheduledTask]:
        """The first few tasks of each line, in the order in which they should get executors."""
        for priority in self._priorities:
            lines = self._classes[priority]
            if len(lines) == 1:
                yield from next(iter(lines.values())).candidates()
                continue
            builds: dict[BuildId, list[_Line]] = {}
            for line in lines.values():
                builds.setdefault(line.build.id, []).append(line)
            for own in sorted(builds.values(), key=lambda own: (own[0].build.share, own[0].build.turn)):
                if len(own) == 1:
                    yield from own[0].candidates()
                else:
                    yield from sorted((task for line in own for task in line.candidates()), key=_key)

    def match(self, pool: ExecutorPool) -> tuple[ScheduledTask, Executor] | None:
        """The next task and its executor; None if the queued tasks have to wait for another executor, or for memory.

        A task that some fit idle executor has not tried yet goes first. Only without such a task does a task go to an
        executor that it was tried on.
        """
        if not (self.size and pool.idle):
            return None
        tried_before = None
        for task in self.candidates():
            executor = pool.idle_for(task, task.tried)
            if executor is not None:
                return task, executor
            if tried_before is None and task.tried and (executor := pool.idle_for(task, ())) is not None:
                tried_before = task, executor
        return tried_before

    def first_unfit(self, pool: ExecutorPool) -> ScheduledTask | None:
        """The first task for which no connected executor is fit. O(lines).

        The other tasks of its line wait, because an executor that joins later may be fit.
        """
        if not (self.size and pool.unfit and pool.connected):
            return None
        for priority in self._priorities:
            for (_, needs), line in self._classes[priority].items():
                if not pool.has_fit(needs):
                    return line.candidates()[0]
        return None

    def first_movable(self) -> ScheduledTask:
        """The first task for the submit host while no executor is connected. ``movable`` must not be 0."""
        for priority in self._priorities:
            lines: Sequence[_Line] = list(self._classes[priority].values())
            if len(lines) > 1:
                lines = sorted(lines, key=lambda line: (line.build.without_executor, line.build.turn))
            for line in lines:
                task = line.first_movable()
                if task is not None:
                    return task
        raise AssertionError("no movable task, though some were counted")

    def validate(self, tasks: Collection[ScheduledTask]) -> None:
        """Assert that the queue holds the tasks in QUEUED, each once, and that the counts are right."""
        own = list(self)
        assert self.size == len(own) == len(set(own))
        assert set(own) == {task for task in tasks if task.state is TaskState.QUEUED}
        assert self.movable == sum(not task.must_be_remote for task in own)
        assert self.memory_hungry == sum(task.is_memory_hungry for task in own)
        assert self.out_of_memory.keys() == {task.id for task in own if task.out_of_memory}
