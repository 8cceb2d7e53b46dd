"""The executors: idle and busy ones, the number on their way, and the executors to release."""

from __future__ import annotations

import enum
import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from spraycc.model import ExecutorId
from spraycc.scheduler.events import ExecutorJoined
from spraycc.scheduler.memory import HostMemory
from spraycc.scheduler.tasks import ScheduledTask, TaskState
from spraycc.status_reply import ExecutorCounts

#: After this many executors in a row that were lost before they finished an attempt (or after ``max_executors``, if
#: more), the scheduler asks for none during ``_BARREN_PAUSE_S``. Otherwise it would submit executors that die at their
#: start as fast as the cluster takes them.
_BARREN_LIMIT = 3
_BARREN_PAUSE_S = 30.0
#: A build that opens during a longer pause has executors asked for this long after the last refusal. The user may have
#: mended the cause, and many short builds in a row must not become as many submissions.
_NEW_BUILD_PAUSE_S = 60.0
#: While a build is open an executor idles at least this long before its release, whatever the delay after builds.
_LEAST_IDLE_S = 10.0
#: At most one in this many executors runs a second attempt. If many tasks are late, the file system or the network is
#: slow, and second attempts for all of them would make it slower.
_SECOND_SHARE = 10


class ExecutorState(enum.Enum):
    """The state of an executor, from ExecutorJoined to ExecutorLost."""

    IDLE = "idle"
    BUSY = "busy"  #: has a task
    RETIRING = "retiring"  #: has its last task: its time is nearly over
    RELEASED = "released"  #: Release was sent; no task goes to it any more
    LOST = "lost"

    __hash__ = object.__hash__  # faster than enum's own, which is Python code: each move is a look-up


#: The states that an executor may move to, by its present state.
EXECUTOR_MOVES: dict[ExecutorState, tuple[ExecutorState, ...]] = {
    ExecutorState.IDLE: (ExecutorState.BUSY, ExecutorState.RELEASED, ExecutorState.LOST),
    ExecutorState.BUSY: (ExecutorState.IDLE, ExecutorState.RETIRING, ExecutorState.LOST),
    ExecutorState.RETIRING: (ExecutorState.RELEASED, ExecutorState.LOST),
    ExecutorState.RELEASED: (ExecutorState.LOST,),
    ExecutorState.LOST: (),
}


@dataclass(slots=True, eq=False)
class Executor:
    """One connected executor."""

    id: ExecutorId
    #: since when it is IDLE
    idle_since: float
    memory: HostMemory
    #: the name of its host
    host: str
    #: the host can capture every effect of a command
    holds_all: bool = False
    state: ExecutorState = ExecutorState.IDLE
    #: the executor's task: RUNNING, or aborted and now ANSWERED or GONE
    task: ScheduledTask | None = None
    #: when the executor's present or last attempt began
    began: float = 0.0
    #: the executor's attempt is a second attempt
    second: bool = False
    #: memory that the task was given
    memory_bytes: int = 0
    #: the room on the host when the task began
    room_bytes: int = 0
    #: the executor has finished an attempt, with any outcome
    proved: bool = False
    #: needs of tasks that the host does not meet
    unfit: set[str] = field(default_factory=set)

    def move(self, state: ExecutorState) -> None:
        assert state in EXECUTOR_MOVES[self.state], f"executor {self.id} can't go from {self.state} to {state}"
        self.state = state


def _batch_job(executor: ExecutorId) -> str:
    """The part that the ids of all executors of one batch job share. A batch job of several CPUs has one for each."""
    return executor.partition(".")[0]


class ExecutorPool:
    """All connected executors, and the number on their way. ``core`` makes actions from its answers."""

    def __init__(self, initial_executors: int | None) -> None:
        self.executors: dict[ExecutorId, Executor] = {}
        #: the memory of the executors' hosts, by the host's name
        self.hosts: dict[str, HostMemory] = {}
        #: executors that are busy with a second attempt
        self.second = 0
        #: the executors in IDLE, the longest idle first
        self.idle: OrderedDict[ExecutorId, Executor] = OrderedDict()
        #: batch job -> its executors. The batch job holds its CPUs until the last of them leaves.
        self._batch_jobs: dict[str, set[ExecutorId]] = {}
        #: executors that stay: all but those in RELEASED
        self.connected = 0
        #: requested executors that have neither joined nor failed, >= 0
        self.asked = 0
        #: all requests were withdrawn. Some of the requested executors may still join.
        self.withdrawn = False
        #: connected executors that are known to be unfit for something
        self.unfit = 0
        #: no executors are requested before this time
        self.retry_at = -math.inf
        #: when requested executors last failed
        self._failed_at = -math.inf
        #: way -> the two times above, for the ways in which executors were started before
        self._pauses: dict[Hashable, tuple[float, float]] = {}
        #: most executors to ask for, by the use that builds make of them; infinite, or >= 1
        self.ceiling = math.inf
        #: time since when no build is open and no task is queued; None while there are any
        self.quiet_since: float | None = None
        #: time since when no build wants executors, for the withdrawal of requests; None while any build does
        self.unwanted_since: float | None = None
        #: heap of (time, executor): no task goes to the executor from then on
        self._retirements: list[tuple[float, ExecutorId]] = []
        #: executors that were lost before they finished an attempt, since any executor last finished one
        self._barren = 0
        self.reset_ceiling(initial_executors)

    @property
    def busy(self) -> int:
        return self.connected - len(self.idle)

    # ---- demand

    def reset_ceiling(self, initial_executors: int | None) -> None:
        self.ceiling = math.inf if initial_executors is None else initial_executors

    def raise_ceiling(self, initial_executors: int | None) -> bool:
        """Double the ceiling if all executors are busy and none is on its way. True if it was raised."""
        if self.ceiling == math.inf or self.idle or self.asked or self.busy < max(1, self.ceiling):
            return False
        self.ceiling = math.inf if initial_executors is None else 2 * self.busy
        return True

    def lower_ceiling(self) -> None:
        """An executor idles while a build is open, so the build can use only the others."""
        self.ceiling = max(1, self.connected)

    def ask(self, count: int) -> None:
        """``count`` more executors are requested."""
        self.asked += count
        self.withdrawn = False

    def next_withdrawal(self, delay_s: float) -> float | None:
        """When the requests are to be withdrawn; None: builds want them, or there are none left to withdraw."""
        if self.unwanted_since is None or not self.asked or self.withdrawn:
            return None
        return self.unwanted_since + delay_s

    def fail(self, count: int, now: float, retry_s: float) -> None:
        """``count`` requested executors will not join."""
        self.asked = max(0, self.asked - count)
        self.retry_at = max(self.retry_at, now + retry_s)
        self._failed_at = now

    def shorten_pause(self) -> None:
        """A build opens: its user expects another try."""
        self.retry_at = min(self.retry_at, self._failed_at + _NEW_BUILD_PAUSE_S)

    def change_way(self, before: Hashable, way: Hashable) -> None:
        """Executors are started in another way from now on. The pause after a refusal belongs to the way."""
        self._pauses[before] = self.retry_at, self._failed_at
        self.retry_at, self._failed_at = self._pauses.pop(way, (-math.inf, -math.inf))
        self._barren = 0

    # ---- joining and leaving

    def join(self, event: ExecutorJoined, now: float) -> None:
        executor = event.executor
        assert executor not in self.executors, f"executor {executor} joined twice"
        memory = self.hosts.get(event.host)
        if memory is None:
            memory = self.hosts[event.host] = HostMemory(event.memory_bytes)
        memory.executors += 1
        self.connected += 1
        joined = Executor(executor, now, memory, event.host, event.holds_all)
        self.executors[executor] = self.idle[executor] = joined
        self._batch_jobs.setdefault(_batch_job(executor), set()).add(executor)
        # An executor may join unasked: the cluster reported its batch job as failed and started it all the same.
        self.asked = max(0, self.asked - 1)
        if event.lasts_s is not None:
            heapq.heappush(self._retirements, (now + event.lasts_s, executor))

    def lose(self, executor: Executor, now: float, max_executors: int) -> None:
        if executor.state is not ExecutorState.RELEASED:
            self.connected -= 1
            if not executor.proved:
                self._note_barren(now, max_executors)
        executor.move(ExecutorState.LOST)
        del self.executors[executor.id]
        self.idle.pop(executor.id, None)
        batch_job = self._batch_jobs[_batch_job(executor.id)]
        batch_job.remove(executor.id)
        if not batch_job:
            del self._batch_jobs[_batch_job(executor.id)]
        self.unfit -= bool(executor.unfit)
        self._leave_task(executor)
        executor.memory.executors -= 1
        if not executor.memory.executors:
            del self.hosts[executor.host]

    def _note_barren(self, now: float, max_executors: int) -> None:
        self._barren += 1
        if self._barren >= max(_BARREN_LIMIT, max_executors):
            self._barren = 0
            self.retry_at = max(self.retry_at, now + _BARREN_PAUSE_S)

    def let_go(self, executors: Iterable[ExecutorId], now: float) -> None:
        """No task goes to the executors from now on."""
        for executor in executors:
            heapq.heappush(self._retirements, (now, executor))

    def next_retirement(self) -> float | None:
        """The next time when :meth:`retire` is due."""
        return self._retirements[0][0] if self._retirements else None

    def retire(self, now: float) -> list[Executor]:
        """The idle executors whose time is nearly over. Busy executors become RETIRING."""
        idle: dict[ExecutorId, Executor] = {}  # an executor may be on the heap twice
        heap = self._retirements
        while heap and (heap[0][0] <= now or heap[0][1] not in self.executors):
            executor = self.executors.get(heapq.heappop(heap)[1])
            if executor is None:
                continue
            if executor.state is ExecutorState.IDLE:
                idle[executor.id] = executor
            elif executor.state is ExecutorState.BUSY:
                executor.move(ExecutorState.RETIRING)
        return list(idle.values())

    def next_release(self, delay_s: float) -> tuple[Executor, float] | None:
        """An executor of the batch job that idles longest, and the time of its release; None to keep it."""
        found: tuple[Executor, float] | None = None
        for executor in self.idle.values():
            if found is not None and found[1] <= executor.idle_since:
                break
            since = self._idle_since(executor)
            if since is not None and (found is None or since < found[1]):
                found = executor, since
        if found is None:
            return None
        executor, since = found
        if self.quiet_since is not None:
            return executor, max(since, self.quiet_since) + delay_s
        # No recipe uses the executor's token: the build's present work is not for executors. One idle executor stays:
        # only its next task shows that the build can use more executors again.
        idle_peers = sum(peer in self.idle for peer in self._batch_jobs[_batch_job(executor.id)])
        return None if len(self.idle) == idle_peers else (executor, since + max(delay_s, _LEAST_IDLE_S))

    def _idle_since(self, executor: Executor) -> float | None:
        """Since when no executor of this one's batch job has a task; None: one has."""
        ids = self._batch_jobs[_batch_job(executor.id)]
        if len(ids) == 1:  # nearly always, and each event comes here
            return executor.idle_since
        peers = [self.executors[peer] for peer in ids]
        if not all(peer.state in (ExecutorState.IDLE, ExecutorState.RELEASED) for peer in peers):
            return None
        return max(peer.idle_since for peer in peers if peer.state is ExecutorState.IDLE)

    def release(self, executor: Executor) -> None:
        """Give the executor no more tasks. Its loss follows."""
        executor.move(ExecutorState.RELEASED)
        self.idle.pop(executor.id, None)
        self.connected -= 1

    def longest_idle(self) -> Executor | None:
        return next(iter(self.idle.values()), None)

    # ---- finding an executor for a task

    def idle_for(self, task: ScheduledTask, tried: Collection[ExecutorId]) -> Executor | None:
        """The idle executor that was busy last, because its caches are warm.

        Skips the executors in ``tried``, unfit executors, and hosts without room for the task.
        """
        for executor in reversed(self.idle.values()):
            if executor.id not in tried and task.needs not in executor.unfit and executor.memory.has_room(task):
                return executor
        return None

    @property
    def may_run_second(self) -> bool:
        """True while few executors run second attempts."""
        return self.second * _SECOND_SHARE < self.connected

    def idle_for_second(self, task: ScheduledTask, pace_of: Callable[[str], float]) -> Executor | None:
        """An idle executor for a second attempt: on another host if possible, and on the fastest host.

        ``pace_of``: the factor of a host on expected durations.
        """
        (first,) = task.executors
        memory = self.executors[first].memory
        fit = [
            executor
            for executor in reversed(self.idle.values())
            if executor.holds_all
            and task.needs not in executor.unfit
            and executor.id not in task.tried
            and executor.memory.has_room(task)
        ]
        return min(fit, key=lambda executor: (executor.memory is memory, pace_of(executor.host)), default=None)

    def has_fit(self, needs: str) -> bool:
        """True if any executor that stays may be fit, idle or not."""
        return any(needs not in executor.unfit for executor in self._staying())

    def could_take(self, task: ScheduledTask) -> bool:
        """True if any executor that stays has enough memory for the task, at least on an otherwise idle host."""
        return any(task.needs not in e.unfit and e.memory.could_take(task) for e in self._staying())

    def _staying(self) -> Iterator[Executor]:
        return (e for e in self.executors.values() if e.state is not ExecutorState.RELEASED)

    def note_unfit(self, executor: Executor, needs: str) -> None:
        """The executor's host does not meet this need."""
        self.unfit += not executor.unfit
        executor.unfit.add(needs)

    # ---- attempts

    def occupy(self, executor: Executor, task: ScheduledTask, now: float, *, second: bool) -> None:
        """An attempt of the task begins on the executor."""
        executor.move(ExecutorState.BUSY)
        executor.began = now
        del self.idle[executor.id]
        executor.task = task
        executor.second = second
        self.second += second
        executor.memory_bytes = task.memory_bytes
        executor.room_bytes = executor.memory.room
        executor.memory.begin(task.memory_bytes)

    def free(self, executor: Executor, now: float) -> bool:
        """The executor's attempt has ended. False if it was the last one, and the executor must be released."""
        self._leave_task(executor)
        executor.proved = True
        self._barren = 0
        if executor.state is ExecutorState.RETIRING:
            return False
        executor.move(ExecutorState.IDLE)
        executor.idle_since = now
        self.idle[executor.id] = executor
        return True

    def _leave_task(self, executor: Executor) -> None:
        if executor.task is not None:
            executor.memory.end(executor.memory_bytes)
            self.second -= executor.second
            executor.second = False
        executor.task = None

    # ---- status and invariants

    def counts(self) -> ExecutorCounts:
        return ExecutorCounts(
            idle=len(self.idle), busy=self.busy, asked=self.asked, releasing=len(self.executors) - self.connected
        )

    def validate(self, tasks: Collection[ScheduledTask]) -> None:
        """Assert that each executor is where its state says, and that the counts are right."""
        for task in tasks:
            assert len(task.executors) == len(set(task.executors)) <= 2
            assert all(self.executors[executor].task is task for executor in task.executors)
        executors = self.executors.values()
        for executor in executors:
            mine = executor.task
            assert (executor.id in self.idle) == (executor.state is ExecutorState.IDLE)
            assert (mine is not None) == (executor.state in (ExecutorState.BUSY, ExecutorState.RETIRING))
            if mine is not None and mine.state not in (TaskState.ANSWERED, TaskState.GONE):
                assert executor.id in mine.executors
        assert self.idle.keys() <= self.executors.keys()
        since = [executor.idle_since for executor in self.idle.values()]
        assert since == sorted(since)
        assert self.connected == sum(executor.state is not ExecutorState.RELEASED for executor in executors)
        assert self.busy == sum(executor.task is not None for executor in executors)
        assert self.second == sum(executor.second for executor in executors)
        assert self.unfit == sum(bool(executor.unfit) for executor in executors)
        for name, memory in self.hosts.items():
            own = [executor for executor in executors if executor.memory is memory]
            assert {executor.host for executor in own} == {name}
            assert memory.executors == len(own)
            memory.validate([executor.memory_bytes for executor in own if executor.task is not None])
        assert self.asked >= 0
        assert self.ceiling >= 1
