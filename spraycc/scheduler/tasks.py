"""The scheduler's records of a task and of a build. Plain data: ``core`` and its parts change them."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from spraycc.model import UNKNOWN, BuildId, ExecutorId, Expectation, Placement, TaskId
from spraycc.scheduler.circuit_breaker import CircuitBreaker
from spraycc.status_reply import TaskCounts


class TaskState(enum.Enum):
    """The state of a task. :meth:`ScheduledBuilds.move` changes it::

                      Dispatch                 DONE
        REMOTE ──► QUEUED ──────► RUNNING ─────────────► ANSWERED
                     │ ▲             │ │
                     │ └─────────────┘ │ REFUSED, too many attempts, or its build's circuit breaker tripped
                     │  lost, killed,  ▼
                     │  unfit      WAITING ◄── HERE_HEAVY, HERE_LIGHT
    no executor, none│                │
    fit, compile slot└───► LOCAL ◄────┘ a slot is free
                             ▲
                             └── HERE_NOW

    TaskGone leads from each state to GONE.
    """

    ARRIVED = "arrived"  #: not placed yet; only while TaskArrived is handled
    QUEUED = "queued"  #: waits for an executor
    RUNNING = "running"  #: has one attempt on an executor, or two at once
    WAITING = "waiting"  #: waits for a slot of the submit host
    LOCAL = "local"  #: its runner was told to run the command
    ANSWERED = "answered"  #: its runner has the result and still has to end
    GONE = "gone"  #: its runner has ended; only an executor that has not ended the attempt may refer to the task

    __hash__ = object.__hash__  # faster than enum's own, which is Python code: each move is a look-up


#: The states that a task may move to, by its present state.
TASK_MOVES: dict[TaskState, tuple[TaskState, ...]] = {
    TaskState.ARRIVED: (TaskState.QUEUED, TaskState.WAITING, TaskState.LOCAL),
    TaskState.QUEUED: (TaskState.RUNNING, TaskState.WAITING, TaskState.LOCAL, TaskState.GONE),
    TaskState.RUNNING: (TaskState.ANSWERED, TaskState.QUEUED, TaskState.WAITING, TaskState.GONE),
    TaskState.WAITING: (TaskState.LOCAL, TaskState.GONE),
    TaskState.LOCAL: (TaskState.GONE,),
    TaskState.ANSWERED: (TaskState.GONE,),
    TaskState.GONE: (),
}
#: The states of tasks that an executor runs or will run.
REMOTE_STATES = (TaskState.QUEUED, TaskState.RUNNING)

#: A task that is expected to use this much memory gets an executor only on a host with room for it. The hosts of a
#: cluster have several times as much memory for each CPU, so the scheduler does not check smaller tasks.
MEMORY_HUNGRY_BYTES = 512 * 1024 * 1024
#: A task that ran out of memory is expected to use this many times the room that it had.
_OUT_OF_MEMORY_FACTOR = 1.25


class Quota(enum.Enum):
    """The submit host's quotas of local slots."""

    HEAVY = "heavy"  #: links, and tasks meant for executors that run on the submit host because they have to
    LIGHT = "light"  #: archives and other short work
    COMPILE = "compile"  #: tasks meant for executors that run on the submit host because it has a slot for them


@dataclass(slots=True, eq=False)
class ScheduledBuild:
    """One build: from its start or its first task until it has ended and has neither tasks nor executors."""

    id: BuildId
    #: the build's tool runs. Only then the build has a width, and claims executors for future tasks.
    open: bool = False
    #: most tasks at once, >= 1; None is no limit
    cap: int | None = None
    #: the width of the last SetWidth; 0 before the first
    width: int = 0
    #: a task for executors has arrived, so the scheduler expects more
    wants_executors: bool = False
    #: its command line is gone: the build asks for no executors, and none of its tasks waits for the first one
    left: bool = False
    #: NoExecutorYet was sent
    told_no_executor: bool = False
    #: the time of the next request in the last WaitsForRetry
    told_retry_at: float = -math.inf
    #: its tasks that are not GONE
    tasks: int = 0
    #: its tasks in QUEUED and RUNNING
    remote: int = 0
    #: executors that are busy for it, including those with an aborted attempt
    busy_executors: int = 0
    #: its tasks in LOCAL because no executor was connected
    without_executor: int = 0
    #: its tasks in compile slots
    in_compile_slots: int = 0
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    #: number of the build's last serving. It breaks ties; otherwise one of two equal builds would starve.
    turn: int = 0

    @property
    def share(self) -> int:
        """The executors and compile slots that the build has. The build with the fewest is served next."""
        return self.busy_executors + self.in_compile_slots

    @property
    def wanted_executors(self) -> float:
        """Executors that the build can use; infinite if it is open without a cap.

        A build uses its width only once it has tokens, and tokens follow executors. So its first task for executors
        claims executors for all that the build may run at once.
        """
        if self.left:
            return 0
        if not self.open:
            return self.remote
        return (self.cap or math.inf) if self.wants_executors else 0


@dataclass(slots=True, eq=False)
class ScheduledTask:
    """One task, from its arrival until its runner has ended."""

    id: TaskId
    build: ScheduledBuild
    placement: Placement
    priority: int
    must_be_remote: bool
    #: order of arrival
    number: int
    #: see TaskArrived
    needs: str = ""
    state: TaskState = TaskState.ARRIVED
    #: dispatches so far
    attempts: int = 0
    #: attempts that ended at once because the executor's host lacks what the task needs
    unfit_attempts: int = 0
    #: the executors of all attempts
    tried: list[ExecutorId] = field(default_factory=list)
    #: the task's last attempt was neither killed nor cancelled, so the task goes to the front of its line
    in_front: bool = False
    #: the executors that run the task now, one or two; empty unless RUNNING
    executors: list[ExecutorId] = field(default_factory=list)
    expected: Expectation = UNKNOWN
    #: a second attempt may run beside the first
    may_run_twice: bool = False
    #: the most memory that the task is expected to use; raised above ``expected`` if the task runs out of memory
    memory_bytes: int = 0
    #: the task ran out of memory, so even an idle host must have ``memory_bytes``
    out_of_memory: bool = False
    #: time when the task's only attempt is late; None if it gets no second attempt
    late_at: float | None = None
    #: the quota that the task waits for or holds; only in WAITING and LOCAL; None in LOCAL: a task without a slot
    quota: Quota | None = None
    #: ``RunLocally.why``; only in WAITING and LOCAL
    why: str = ""
    #: order of entering WAITING
    entered: int = 0

    @property
    def tries(self) -> int:
        """Attempts that count against ``max_attempts``."""
        return self.attempts - self.unfit_attempts

    @property
    def is_memory_hungry(self) -> bool:
        return self.memory_bytes >= MEMORY_HUNGRY_BYTES

    def note_out_of_memory(self, room_bytes: int) -> None:
        """The task ran out of memory on a host with this much room for it (0: not known)."""
        self.memory_bytes = max(self.memory_bytes, int(room_bytes * _OUT_OF_MEMORY_FACTOR))
        self.out_of_memory = True

    def validate(self) -> None:
        """Assert what holds for every task between two events."""
        assert self.state not in (TaskState.ARRIVED, TaskState.GONE)
        assert bool(self.executors) == (self.state is TaskState.RUNNING)
        assert self.late_at is None or len(self.executors) == 1
        assert len(self.tried) == self.attempts
        assert self.placement is Placement.REMOTE or self.state not in (*REMOTE_STATES, TaskState.ANSWERED)


_COUNTED_AS = {
    TaskState.QUEUED: "queued",
    TaskState.RUNNING: "remote",
    TaskState.WAITING: "waiting_here",
    TaskState.ANSWERED: "answered",
}
_LOCAL_COUNTED_AS = {
    Quota.HEAVY: "here_heavy",
    Quota.LIGHT: "here_light",
    Quota.COMPILE: "here_compile",
    None: "here_now",
}


def count_tasks(tasks: Iterable[ScheduledTask]) -> TaskCounts:
    """The number of tasks in each state."""
    found = Counter(
        _LOCAL_COUNTED_AS[task.quota] if task.state is TaskState.LOCAL else _COUNTED_AS[task.state] for task in tasks
    )
    return TaskCounts(
        queued=found["queued"],
        remote=found["remote"],
        waiting_here=found["waiting_here"],
        here_heavy=found["here_heavy"],
        here_light=found["here_light"],
        here_compile=found["here_compile"],
        here_now=found["here_now"],
        answered=found["answered"],
    )
