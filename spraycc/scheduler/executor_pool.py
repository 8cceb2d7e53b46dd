"""The executors: which are idle, which are busy, how many are on their way."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from spraycc.model import ExecutorId
from spraycc.scheduler.events import ExecutorJoined
from spraycc.scheduler.memory import Host
from spraycc.scheduler.tasks import Task

#: After so many executors in a row that were lost before they had finished a single attempt (or after ``max_executors``
#: of them, if that is more), no more are asked for during ``_BARREN_PAUSE_S``: an executor that dies when it starts
#: would else be submitted again as fast as the cluster takes it.
_BARREN_LIMIT = 3
_BARREN_PAUSE_S = 30.0


@dataclass(slots=True, eq=False)
class Executor:
    """One connected executor."""

    id: ExecutorId
    #: since when; only of an idle one
    idle_since: float
    host: Host
    #: the name of that
    host_name: str
    #: its capture holds every effect of a command
    holds_all: bool = False
    #: what it is busy with: a task in RUNNING, or one that was aborted, and is GONE or has its result from elsewhere
    task: Task | None = None
    #: the task has a second attempt, and this is it
    second: bool = False
    #: what of its host's memory the task was given
    memory_bytes: int = 0
    #: the room that there was
    room_bytes: int = 0
    #: Release was said; it gets nothing any more
    releasing: bool = False
    #: its time is nearly over: what it has in hand is its last
    retiring: bool = False
    #: it has finished an attempt, however that ended
    proved: bool = False
    #: what tasks need and its host has not
    unfit: set[str] = field(default_factory=set)


class Pool:
    """All connected executors and the count of those asked for. Says nothing itself; ``core`` turns it into actions."""

    def __init__(self) -> None:
        self.executors: dict[ExecutorId, Executor] = {}
        #: those that they are on
        self.hosts: dict[str, Host] = {}
        #: executors that are busy with a second attempt
        self.second = 0
        #: those with no task that are not being released, the one that idles longest first
        self.idle: OrderedDict[ExecutorId, Executor] = OrderedDict()
        #: those being released
        self.releasing = 0
        #: asked for and neither joined nor failed, >= 0
        self.asked = 0
        #: connected ones that are known to be unfit for something
        self.unfit = 0
        #: no more are asked for before
        self.retry_at = -math.inf
        #: more than so many are not worth asking for, as the demand is: infinite, or >= 1
        self.level: float = math.inf
        #: heap of (time, executor) of those that get nothing from then on
        self._retirements: list[tuple[float, ExecutorId]] = []
        #: executors lost, since the last attempt that ended, that never finished one
        self._barren = 0

    @property
    def connected(self) -> int:
        """Those that are there to stay."""
        return len(self.executors) - self.releasing

    @property
    def busy(self) -> int:
        return len(self.executors) - self.releasing - len(self.idle)

    def join(self, event: ExecutorJoined, now: float) -> None:
        executor = event.executor
        assert executor not in self.executors, f"executor {executor} joined twice"
        host = self.hosts.get(event.host)
        if host is None:
            host = self.hosts[event.host] = Host(event.memory_bytes)
        host.executors += 1
        joined = Executor(executor, now, host, event.host, event.holds_all)
        self.executors[executor] = self.idle[executor] = joined
        # One that nobody asked for may come too: its batch job was reported failed and started all the same.
        self.asked = max(0, self.asked - 1)
        if event.lasts_s is not None:
            heapq.heappush(self._retirements, (now + event.lasts_s, executor))

    def next_retirement(self) -> float | None:
        """When :meth:`retire` has something to do."""
        return self._retirements[0][0] if self._retirements else None

    def retire(self, now: float) -> list[Executor]:
        """Those whose time is nearly over. The idle ones can go at once; the others say so by ``retiring``."""
        idle = []
        heap = self._retirements
        while heap and (heap[0][0] <= now or heap[0][1] not in self.executors):
            executor = self.executors.get(heapq.heappop(heap)[1])
            if executor is None or executor.releasing:
                continue
            executor.retiring = True
            if executor.id in self.idle:
                idle.append(executor)
        return idle

    def grow(self, initial: int | None) -> None:
        """Raise the level where all executors are busy and none is on the way: there is no telling how many more
        could be used, so twice as many."""
        if self.level < math.inf and not (self.idle or self.asked) and self.busy >= max(1, self.level):
            self.level = math.inf if initial is None else 2 * self.busy

    def lose(self, executor: Executor, now: float, max_executors: int) -> None:
        del self.executors[executor.id]
        self.idle.pop(executor.id, None)
        self.unfit -= bool(executor.unfit)
        self._leave_task(executor)
        host = executor.host
        host.executors -= 1
        if not host.executors:
            del self.hosts[executor.host_name]
        if executor.releasing:
            self.releasing -= 1
        elif not executor.proved:
            self._barren += 1
            if self._barren >= max(_BARREN_LIMIT, max_executors):
                self._barren = 0
                self.retry_at = max(self.retry_at, now + _BARREN_PAUSE_S)

    def fail(self, count: int, retry_at: float) -> None:
        self.asked = max(0, self.asked - count)
        self.retry_at = max(self.retry_at, retry_at)

    def idle_for(self, task: Task, tried: Collection[ExecutorId]) -> Executor | None:
        """The idle one that was busy last (its caches are warm), other than these, fit as far as is known and with room
        for the task."""
        for executor in reversed(self.idle.values()):
            if executor.id not in tried and task.needs not in executor.unfit and executor.host.has_room(task):
                return executor
        return None

    def idle_for_second(self, task: Task) -> Executor | None:
        """One for a second attempt: on another host, if there is one."""
        (first,) = task.executors
        there = self.executors[first].host
        found = None
        for executor in reversed(self.idle.values()):
            fit = executor.holds_all and task.needs not in executor.unfit and executor.id not in task.tried
            if fit and executor.host.has_room(task):
                if executor.host is not there:
                    return executor
                found = found or executor
        return found

    def has_fit(self, needs: str) -> bool:
        """Whether any that is there to stay may be fit, idle or not."""
        return any(needs not in executor.unfit for executor in self.executors.values() if not executor.releasing)

    def could_take(self, task: Task) -> bool:
        """Whether any of those has so much memory, at least while nothing else runs there."""
        staying = (executor for executor in self.executors.values() if not executor.releasing)
        return any(task.needs not in executor.unfit and executor.host.could_take(task) for executor in staying)

    def note_unfit(self, executor: Executor, needs: str) -> None:
        """Its host has not what this need stands for."""
        self.unfit += not executor.unfit
        executor.unfit.add(needs)

    def occupy(self, executor: Executor, task: Task, *, second: bool) -> None:
        del self.idle[executor.id]
        executor.task = task
        executor.second = second
        self.second += second
        executor.memory_bytes = task.memory_bytes
        executor.room_bytes = executor.host.room
        executor.host.begin(task.memory_bytes)

    def _leave_task(self, executor: Executor) -> None:
        if executor.task is not None:
            executor.host.end(executor.memory_bytes)
            self.second -= executor.second
            executor.second = False
        executor.task = None

    def free(self, executor: Executor, now: float) -> None:
        """Its attempt has ended."""
        self._leave_task(executor)
        executor.proved = True
        self._barren = 0
        executor.idle_since = now
        self.idle[executor.id] = executor

    def release(self, executor: Executor) -> None:
        del self.idle[executor.id]
        executor.releasing = True
        self.releasing += 1

    def longest_idle(self) -> Executor | None:
        return next(iter(self.idle.values()), None)
