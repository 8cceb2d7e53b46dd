"""Who is next: the queue of tasks that want an executor, and the division of the width between builds."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush

from spraycc.model import BuildId, TaskId
from spraycc.scheduler.tasks import Build, Task

#: How many tasks that came back are looked at for one whose executors were others than the idle ones. A host that kills
#: everything brings the whole queue back, and looking at all of it for each dispatch would be quadratic.
_LOOK_AHEAD = 8


def _key(task: Task) -> tuple[int, float, int]:
    """Order within a line: those whose executor was lost, then the longest, then by arrival."""
    return (0 if task.in_front else 1, -task.expected.seconds, task.number)


class _Fresh:
    """Tasks that were never dispatched: the longest expected first, equals (all of whom nothing is known) by arrival.

    A heap, in which what was removed from its middle stays until it comes to the top, or is half of it.
    """

    __slots__ = ("_heap", "tasks")

    def __init__(self) -> None:
        #: those that are in it
        self.tasks: dict[TaskId, Task] = {}
        #: (minus seconds, number, task) of those and of some that were removed; numbers are unique
        self._heap: list[tuple[float, int, Task]] = []

    def add(self, task: Task) -> None:
        self.tasks[task.id] = task
        heappush(self._heap, (-task.expected.seconds, task.number, task))

    def remove(self, task: Task) -> None:
        del self.tasks[task.id]
        heap, tasks = self._heap, self.tasks
        if len(heap) > 2 * len(tasks) + 16:
            self._heap = heap = [entry for entry in heap if entry[2].id in tasks]
            heapify(heap)
        while heap and heap[0][2].id not in tasks:
            heappop(heap)

    def first(self) -> Task:
        return self._heap[0][2]


class _Line:
    """The queued tasks of one build, one priority and one need."""

    __slots__ = ("again", "build", "fresh")

    def __init__(self, build: Build) -> None:
        self.build = build
        #: (must be remote, heavy) -> those that were never dispatched; none of these is empty. The others may run here
        #: when no executor is connected, and the light ones go by where there is no room for the first heavy one.
        self.fresh: dict[tuple[bool, bool], _Fresh] = {}
        #: (:func:`_key`, task) of those that came back, sorted; few, or the cluster is broken. They go before all
        #: others: they have waited already.
        self.again: list[tuple[tuple[int, float, int], Task]] = []

    def __bool__(self) -> bool:
        return bool(self.fresh or self.again)

    def __iter__(self) -> Iterator[Task]:
        yield from (task for _, task in self.again)
        for fresh in self.fresh.values():
            yield from fresh.tasks.values()

    def add(self, task: Task) -> None:
        if task.attempts:
            insort(self.again, (_key(task), task))  # numbers are unique: tasks are never compared
            return
        kind = (task.must_be_remote, task.is_heavy)
        fresh = self.fresh.get(kind)
        if fresh is None:
            fresh = self.fresh[kind] = _Fresh()
        fresh.add(task)

    def remove(self, task: Task) -> None:
        if task.attempts:
            index = bisect_left(self.again, _key(task), key=lambda entry: entry[0])
            assert self.again[index][1] is task
            del self.again[index]
            return
        kind = (task.must_be_remote, task.is_heavy)
        fresh = self.fresh[kind]
        fresh.remove(task)
        if not fresh.tasks:
            del self.fresh[kind]

    def candidates(self) -> list[Task]:
        """The next tasks in order, as many as matter for the choice of an executor; at least one if there is any."""
        heads = [fresh.first() for fresh in self.fresh.values()]
        if len(heads) > 1:
            heads.sort(key=_key)
        return [task for _, task in self.again[:_LOOK_AHEAD]] + heads if self.again else heads

    def first_movable(self) -> Task | None:
        """The next task that may run here for want of an executor."""
        for _, task in self.again:
            if not task.must_be_remote:
                return task
        heads = [fresh.first() for (must_be_remote, _), fresh in self.fresh.items() if not must_be_remote]
        return min(heads, key=_key, default=None)


class RemoteQueue:
    """Tasks in QUEUED: by priority, then the build that has least, then the longest.

    Adding and removing cost O(log n), for those that came back a memmove too; choosing costs O(b log b) in the number
    of *builds* with tasks of the best priority.
    """

    def __init__(self) -> None:
        #: priority -> (build, need) -> the line; no line is empty and no priority without lines
        self._classes: dict[int, dict[tuple[BuildId, str], _Line]] = {}
        #: the keys of ``_classes``, sorted
        self._priorities: list[int] = []
        #: tasks in it
        self.size = 0
        #: those of them that may run here when no executor is connected
        self.movable = 0
        #: those of them that ran out of memory
        self.starved: dict[TaskId, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        for lines in self._classes.values():
            for line in lines.values():
                yield from line

    def add(self, task: Task) -> None:
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
        if task.starved:
            self.starved[task.id] = task

    def remove(self, task: Task) -> None:
        lines = self._classes[task.priority]
        line = lines[task.build.id, task.needs]
        line.remove(task)
        self.size -= 1
        self.movable -= not task.must_be_remote
        if task.starved:
            del self.starved[task.id]
        if not line:
            del lines[task.build.id, task.needs]
            if not lines:
                del self._classes[task.priority]
                self._priorities.remove(task.priority)

    def candidates(self) -> Iterator[Task]:
        """Tasks in the order in which executors are due to them, the first few of each line."""
        for priority in self._priorities:
            lines = self._classes[priority]
            if len(lines) == 1:
                yield from next(iter(lines.values())).candidates()
                continue
            builds: dict[BuildId, list[_Line]] = {}
            for line in lines.values():
                builds.setdefault(line.build.id, []).append(line)
            for own in sorted(builds.values(), key=lambda own: (own[0].build.held, own[0].build.turn)):
                if len(own) == 1:
                    yield from own[0].candidates()
                else:
                    yield from sorted((task for line in own for task in line.candidates()), key=_key)

    def first_with(self, condition: Callable[[str], bool]) -> Task | None:
        """The first task of the first line whose need is such; O(lines)."""
        for priority in self._priorities:
            for (_, needs), line in self._classes[priority].items():
                if condition(needs):
                    return line.candidates()[0]
        return None

    def first_movable(self) -> Task:
        """The task that is due to run here for want of an executor. Only while ``movable`` is not 0."""
        for priority in self._priorities:
            lines: Sequence[_Line] = list(self._classes[priority].values())
            if len(lines) > 1:
                lines = sorted(lines, key=lambda line: (line.build.fallen, line.build.turn))
            for line in lines:
                task = line.first_movable()
                if task is not None:
                    return task
        raise AssertionError("no movable task, though some were counted")


def split(capacity: int, caps: Sequence[int | None]) -> list[int]:
    """Divides a capacity between builds, given their caps, the oldest first.

    Equal shares; what a cap leaves over goes to the others, the remainder to the oldest. Nobody gets less than 1: a
    build tool can't run less than one recipe, so with more builds than capacity the sum is over it.
    """
    shares = [0] * len(caps)
    rest = capacity
    open_ended: list[int] = []
    # The smallest caps first: once one is above the level, so are all that follow, and the level no longer moves.
    for left, index in zip(
        range(len(caps), 0, -1),
        sorted(range(len(caps)), key=lambda i: capacity if (cap := caps[i]) is None else cap),
        strict=True,
    ):
        cap = caps[index]
        if cap is not None and not open_ended and cap <= rest // left:
            shares[index] = cap
            rest -= cap
        else:
            open_ended.append(index)
    if open_ended:
        level, remainder = divmod(rest, len(open_ended))
        for place, index in enumerate(sorted(open_ended)):
            shares[index] = level + (place < remainder)
    return [max(1, share) for share in shares]
