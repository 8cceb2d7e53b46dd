"""What happens, as the scheduler hears of it. Every event carries ids only; the shell keeps what they stand for."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from spraycc.model import UNKNOWN, BuildId, ExecutorId, Expectation, Placement, TaskId


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that the scheduler works by; replaced as a whole by :class:`PolicyChanged`."""

    #: most executors at once
    max_executors: int
    #: most tasks under the heavy quota (and fallen back ones) at once on the submit host
    local_slots: int
    #: most tasks under the light quota at once on the submit host
    light_slots: int
    #: executors share the submit host's CPUs (the local driver): a task that runs here takes one executor's place
    executors_are_here: bool
    #: a task is dispatched at most so often before it runs here
    max_attempts: int
    #: how long the first tasks wait for the first executor before they run here
    pending_grace_s: float
    #: never fall back because no executor is connected yet
    wait_for_cluster: bool
    #: how long an executor may idle before it is let go; while a build is open one idle executor is kept
    release_delay_s: float
    #: where more than so many of a build's last 100 tasks were tried on executors and ran here after all, no more of it
    #: are sent
    fall_back_limit: int = 30
    #: so many executors are asked for at first, and more when all of them are busy; None: as many as the builds may use
    initial_executors: int | None = None


class Outcome(enum.Enum):
    """How an attempt ended, as far as the scheduler cares."""

    DONE = "done"  #: final, whatever the command's exit status: the runner has been answered
    KILLED = "killed"  #: the command was killed by a signal that nobody asked for: elsewhere, then here
    OUT_OF_MEMORY = "out-of-memory"  #: it wanted more than there was: where there is more, then here
    REFUSED = "refused"  #: the capture can't hold it: here
    CANCELLED = "cancelled"  #: after Abort
    #: this executor's host is not fit for what the task needs, nor for any other with the same need: elsewhere
    UNFIT = "unfit"
    #: the executor's host had old files in its cache: once more, soon
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    policy: Policy


@dataclass(frozen=True, slots=True)
class BuildOpened:
    build: BuildId
    #: most tasks at once (-jN); None is no limit but the whole width
    cap: int | None


@dataclass(frozen=True, slots=True)
class BuildClosed:
    """Its tool has ended. Tasks of it may still be there; each ends by its own event."""

    build: BuildId


@dataclass(frozen=True, slots=True)
class TaskArrived:
    """``build`` need not be open: a runner outside a build, or one that outlives it, is served as well."""

    task: TaskId
    build: BuildId
    placement: Placement
    #: lower goes first; 0 is dependency generation, 1 all others
    priority: int = 1
    #: the user asked for remote: it waits for an executor as long as it takes
    must_be_remote: bool = False
    #: what an executor's host must have for it, such as a certain compiler; empty: nothing
    needs: str = ""
    expected: Expectation = UNKNOWN
    #: nothing of it is seen outside a capture that holds every effect, so a second attempt may run beside the first
    may_run_twice: bool = False


@dataclass(frozen=True, slots=True)
class TaskGone:
    """The runner's process has ended: it was killed, or it became the command (RunHere) and that has ended, or it took
    the answer. Comes exactly once for each task, in whatever state the task is; nothing of the task comes after it."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class ExecutorJoined:
    executor: ExecutorId
    #: so long it may be given tasks: the cluster manager ends it soon after; None is no limit
    lasts_s: float | None = None
    #: what it shares its memory with: executors that say the same name here use the same memory
    host: str = ""
    #: how much that is; 0 where it is not known
    memory_bytes: int = 0
    #: its capture holds every effect of a command
    holds_all: bool = False


@dataclass(frozen=True, slots=True)
class ExecutorLost:
    """Its connection is gone, for whatever reason, after Release too; an attempt on it is void."""

    executor: ExecutorId


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The executor is free again. The end of an attempt that nobody wants any more (after Abort) frees it all the same;
    one of a task that the executor does not have now is ignored. Of two attempts at once, one at most ends as DONE: the
    shell writes one result, and calls the other attempt CANCELLED."""

    executor: ExecutorId
    task: TaskId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class MemoryReported:
    """So much memory was free on the executor's host just now, beside all that runs there."""

    executor: ExecutorId
    available_bytes: int


@dataclass(frozen=True, slots=True)
class SubmissionFailed:
    """The cluster refused or could not be reached: of the executors asked for, ``count`` won't come. Asked again only
    after ``retry_s`` (above 0); with none connected and none left to come, tasks run here without waiting."""

    count: int
    retry_s: float


@dataclass(frozen=True, slots=True)
class MemoryMeasured:
    """The submit host has memory for so many more tasks under the heavy quota; one may always run."""

    room: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent at (or after) the time that ``next_deadline()`` names."""


Event = (
    PolicyChanged
    | BuildOpened
    | BuildClosed
    | TaskArrived
    | TaskGone
    | ExecutorJoined
    | ExecutorLost
    | AttemptEnded
    | MemoryReported
    | SubmissionFailed
    | MemoryMeasured
    | Tick
)
