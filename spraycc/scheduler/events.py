"""The events that the scheduler handles. They contain only ids; the dispatcher has the objects behind the ids."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from dataclasses import dataclass

from spraycc.model import UNKNOWN, BuildId, ExecutorId, Expectation, Placement, TaskId


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """The settings of the scheduler. :class:`PolicyChanged` replaces them as a whole."""

    #: most executors at once; 0: every task runs on the submit host, the tasks for executors in its compile slots
    max_executors: int
    #: most tasks under the heavy quota at once on the submit host, including tasks meant for executors
    local_slots: int
    #: most tasks under the light quota at once on the submit host
    light_slots: int
    #: executors share the submit host's CPUs (the local driver): a task on the submit host takes one executor's place.
    #: All places together are ``max_executors`` and ``compile_slots``
    executors_are_here: bool
    #: a task runs on the submit host after this many dispatches
    max_attempts: int
    #: the first tasks wait this long for the first executor before they run on the submit host
    pending_grace_s: float
    #: tasks wait for the first executor as long as it takes
    wait_for_cluster: bool
    #: an executor idles this long before its release; while a build is open one idle executor stays
    release_delay_s: float
    #: If more than this many of a build's last 100 tasks fell back, the build's other tasks run on the submit host. A
    #: task falls back if it was tried on executors and runs on the submit host after all.
    fall_back_limit: int = 30
    #: executors to ask for at first, and more when all of them are busy; None: as many as the builds may use
    initial_executors: int | None = None
    #: most tasks meant for executors that the submit host runs beside the executors
    compile_slots: int = 0
    #: the submit host's memory, for the tasks in compile slots; 0 if not known
    memory_bytes: int = 0
    #: how executors are started. The scheduler only compares it: a pause after a refusal holds for one way.
    way: Hashable = ()

    def validate(self) -> None:
        """Assert that every task can end."""
        assert self.max_executors >= 0
        assert self.compile_slots >= 0
        assert self.max_executors or self.compile_slots
        assert self.local_slots >= 1
        assert self.light_slots >= 1
        assert self.max_attempts >= 1
        assert self.initial_executors is None or self.initial_executors >= 1


class Outcome(enum.Enum):
    """How an attempt ended, as far as the scheduler needs to know."""

    DONE = "done"  #: final, whatever the command's exit status: the runner has been answered
    KILLED = "killed"  #: an unrequested signal killed the command: try elsewhere, then on the submit host
    OUT_OF_MEMORY = "out-of-memory"  #: try a host with more memory, then the submit host
    REFUSED = "refused"  #: the capture can't hold the command's effects: run on the submit host
    CANCELLED = "cancelled"  #: after Abort
    UNFIT = "unfit"  #: the executor's host can't run this task, nor any other with the same need: try elsewhere
    STALE = "stale"  #: the executor's host had old files in its cache: try once more, soon


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    policy: SchedulingPolicy


@dataclass(frozen=True, slots=True)
class BuildStarted:
    build: BuildId
    #: most tasks at once (-jN); None: no limit but the whole width
    cap: int | None


@dataclass(frozen=True, slots=True)
class BuildLeft:
    """The build's command line is gone, and its tool lives on. Nobody waits for the cluster any more."""

    build: BuildId


@dataclass(frozen=True, slots=True)
class BuildEnded:
    """The build's tool has ended. Some of its tasks may still exist; each ends with its own event."""

    build: BuildId


@dataclass(frozen=True, slots=True)
class TaskArrived:
    """``build`` need not have started: the scheduler also serves runners outside a build, or that outlive theirs."""

    task: TaskId
    build: BuildId
    placement: Placement
    #: lower goes first; 0 is dependency generation, 1 all others
    priority: int = 1
    #: the user asked for remote: the task waits for an executor as long as it takes
    must_be_remote: bool = False
    #: the needs of the task, such as a certain compiler on the executor's host; empty: none
    needs: str = ""
    expected: Expectation = UNKNOWN
    #: the capture holds every effect of the task, so a second attempt may run beside the first
    may_run_twice: bool = False
    #: the build was closed before, or was another server's
    build_is_over: bool = False


@dataclass(frozen=True, slots=True)
class TaskGone:
    """The runner's process has ended: killed, answered, or having run the command itself (RunLocally).

    Comes exactly once for each task, in any state; no event of the task comes after it.
    """

    task: TaskId


@dataclass(frozen=True, slots=True)
class ExecutorJoined:
    executor: ExecutorId
    #: the executor may be given tasks for this long: the cluster manager ends it soon after; None: no limit
    lasts_s: float | None = None
    #: executors with the same ``host`` share their memory
    host: str = ""
    #: the size of that memory; 0 if not known
    memory_bytes: int = 0
    #: the executor's host can capture every effect of a command
    holds_all: bool = False


@dataclass(frozen=True, slots=True)
class ExecutorsUnwanted:
    """Give these executors no more tasks: the builds may not use them any more. Busy ones finish their tasks."""

    executors: tuple[ExecutorId, ...]


@dataclass(frozen=True, slots=True)
class ExecutorLost:
    """The executor's connection has ended, for any reason, also after Release. An attempt on the executor is void."""

    executor: ExecutorId


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The executor is free again, also if the attempt was aborted.

    The scheduler ignores the end of an attempt that the executor does not have. Of two attempts at once, at most one
    ends as DONE: the dispatcher writes one result and reports the other attempt as CANCELLED.
    """

    executor: ExecutorId
    task: TaskId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class MemoryReported:
    """The free memory on the executor's host while its present processes run."""

    executor: ExecutorId
    available_bytes: int


@dataclass(frozen=True, slots=True)
class SubmissionFailed:
    """The cluster refused or could not be reached: ``count`` of the requested executors will not join.

    The scheduler asks again only after ``retry_s`` (above 0). With no executor connected and none left to come, tasks
    run on the submit host without waiting.
    """

    count: int
    retry_s: float


@dataclass(frozen=True, slots=True)
class MemoryMeasured:
    """The submit host has memory for ``room`` more tasks under the heavy quota; one may always run."""

    room: int
    #: the submit host's free memory; None if not known
    available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that ``next_deadline()`` returned has come."""


Event = (
    PolicyChanged
    | BuildStarted
    | BuildLeft
    | BuildEnded
    | TaskArrived
    | TaskGone
    | ExecutorJoined
    | ExecutorsUnwanted
    | ExecutorLost
    | AttemptEnded
    | MemoryReported
    | SubmissionFailed
    | MemoryMeasured
    | Tick
)
