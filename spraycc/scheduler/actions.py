"""The actions that the scheduler asks for. The dispatcher carries them out in order. A failure becomes an event."""

from __future__ import annotations

from dataclasses import dataclass

from spraycc.model import BuildId, ExecutorId, TaskId


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send the task to this executor. ``attempt`` counts from 1; ``second``: another attempt still runs."""

    task: TaskId
    executor: ExecutorId
    attempt: int
    second: bool = False


@dataclass(frozen=True, slots=True)
class RunLocally:
    """Tell the runner to execute the command itself, on the submit host.

    ``why`` is "placement", "no-executor", "attempts", "refused", "memory", "unfit" (no executor's host is fit for the
    task), "gave-up" (see :class:`GiveUp`), "left" (the task's build is left, and no executor is connected), "local"
    (there are no executors) or "compile-slot" (a compile slot is free, and no executor).
    """

    task: TaskId
    why: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell the executor to kill the task; its AttemptEnded (CANCELLED) or ExecutorLost will follow."""

    executor: ExecutorId
    task: TaskId


@dataclass(frozen=True, slots=True)
class AskExecutors:
    """Have ``count`` more executors started, beside those asked for earlier."""

    count: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take back all requests for executors that have not joined.

    SubmissionFailed reports the executors that will not come. Other requested executors may still join.
    """


@dataclass(frozen=True, slots=True)
class Release:
    """Let this executor end; its ExecutorLost will follow. No task goes to it any more."""

    executor: ExecutorId


@dataclass(frozen=True, slots=True)
class SetWidth:
    """This many recipes of the build may run at once. One has the tool's implicit slot, the others need tokens."""

    build: BuildId
    width: int


@dataclass(frozen=True, slots=True)
class NoExecutorYet:
    """Tasks meant for executors run on the submit host, as no executor is connected. Sent once a build.

    ``asked`` executors are on their way.
    """

    build: BuildId
    asked: int


@dataclass(frozen=True, slots=True)
class WaitsForRetry:
    """The build's tasks wait for the cluster, and the next executors are asked for only in ``retry_s``."""

    build: BuildId
    retry_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Too many of the build's tasks fell back: ``fell_back`` of the last 100, and ``task`` is the last of them.

    Sent once a build. Its other tasks run on the submit host from now on, unless they must be remote.
    """

    build: BuildId
    task: TaskId
    fell_back: int


Action = (
    Dispatch
    | RunLocally
    | Abort
    | AskExecutors
    | Withdraw
    | Release
    | SetWidth
    | NoExecutorYet
    | WaitsForRetry
    | GiveUp
)
