"""What the scheduler keeps of a task and of a build. Plain records: every change of them is made in ``core``."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from spraycc.model import UNKNOWN, BuildId, ExecutorId, Expectation, Placement, TaskId
from spraycc.scheduler.circuit_breaker import Confidence


class State(enum.Enum):
    """Where a task is. Each is left only by a row of the table in ``core`` or by being placed."""

    QUEUED = "queued"  #: wants an executor
    RUNNING = "running"  #: an attempt is on an executor, or two at once
    WAITING_HERE = "waiting-here"  #: wants a slot of the submit host
    HERE = "here"  #: its runner was told to run the command
    ANSWERED = "answered"  #: its runner has the result, and has still to end
    GONE = "gone"  #: its runner has ended; only an executor that has still to give up the attempt knows of it


#: A task that is expected to use more is heavy: it gets an executor only where its host has room for it. Cluster hosts
#: have several times as much for each CPU, so others are not asked.
HEAVY_BYTES = 512 * 1024 * 1024


class Quota(enum.Enum):
    """Which of the submit host's two quotas a task counts under."""

    HEAVY = "heavy"
    LIGHT = "light"


@dataclass(slots=True, eq=False)
class Build:
    """One build, from its opening or the first task of it until it is closed and nothing of it is left."""

    id: BuildId
    #: its tool runs; only then it has a width and claims executors for tasks still to come
    open: bool = False
    #: most tasks at once, >= 1; None is no limit
    cap: int | None = None
    #: what the last SetWidth said; 0 before the first
    width: int = 0
    #: a task for executors has come, so more are expected
    wants_executors: bool = False
    #: Fallback was said
    told: bool = False
    #: its tasks that are not GONE
    tasks: int = 0
    #: its tasks in QUEUED and RUNNING
    remote: int = 0
    #: executors that are busy for it, those with an aborted attempt included
    held: int = 0
    #: tasks that run here because no executor was connected
    fallen: int = 0
    #: how its last tasks fared on executors
    confidence: Confidence = field(default_factory=Confidence)
    #: its tasks go to executors; not any more once too many fell back
    sends: bool = True
    #: when it was last served, as a count of all servings: breaks ties, or one of two equals would starve
    turn: int = 0


@dataclass(slots=True, eq=False)
class Task:
    """One task, from its arrival until its runner has ended."""

    id: TaskId
    build: Build
    placement: Placement
    priority: int
    must_be_remote: bool
    #: order of arrival
    number: int
    #: see TaskArrived
    needs: str = ""
    state: State = State.QUEUED
    #: dispatches so far
    attempts: int = 0
    #: those of them that ended at once, as the executor's host has not what the task needs
    misfits: int = 0
    #: executors of those dispatches
    tried: list[ExecutorId] = field(default_factory=list)
    #: its last executor was lost, so it goes to the front of its class
    in_front: bool = False
    #: where it runs, one or two; only in RUNNING
    executors: list[ExecutorId] = field(default_factory=list)
    expected: Expectation = UNKNOWN
    #: a second attempt may run beside the first
    may_run_twice: bool = False
    #: what it is believed to use at most: as expected, or more than where that was not enough
    memory_bytes: int = 0
    #: it ran out of memory: a host must have that much, and not only be empty
    starved: bool = False
    #: when its one attempt has run for too long; None while nobody waits for that
    late_at: float | None = None
    #: the quota that it waits for or holds; only in WAITING_HERE and HERE, None there for a task without a slot
    quota: Quota | None = None
    #: ``RunHere.why``; only in WAITING_HERE and HERE
    why: str = ""
    #: order of coming into WAITING_HERE
    entered: int = 0

    @property
    def tries(self) -> int:
        """Dispatches that count against ``max_attempts``."""
        return self.attempts - self.misfits

    @property
    def is_heavy(self) -> bool:
        return self.memory_bytes >= HEAVY_BYTES
